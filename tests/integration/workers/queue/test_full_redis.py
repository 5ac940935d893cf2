"""A Redis that refuses: full, a replica, without disk, one that would evict. What frees memory works all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.workers.queue.conftest import Bench
from tests.support.machine import free_port
from tests.support.polling import wait_until
from workers.errors import JobGoneError, StoreUnavailableError
from workers.health import Health
from workers.io.redis_link import RedisLink
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import DUTIES_TASK, UPKEEP_QUEUE, CeleryWakeUps
from workers.store.api_keys import KeyStore, KeyTerms
from workers.store.rate_limits import RateLimits
from workers.store.store_id import check_store_id


@contextmanager
def full(link: RedisLink) -> Iterator[None]:
    """Redis has no memory left."""
    link.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        link.client.config_set("maxmemory", 0)


@contextmanager
def replica(link: RedisLink) -> Iterator[None]:
    """Redis is a replica of a master that is not there."""
    link.client.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        link.client.replicaof("NO", "ONE")


@contextmanager
def evicting(link: RedisLink) -> Iterator[None]:
    """Redis may delete any key when it is full."""
    link.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        yield
    finally:
        link.client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def without_disk(link: RedisLink) -> Iterator[None]:
    """Redis cannot save to its disk: a folder has the name of its file."""
    config = link.client.config_get("dir", "dbfilename")
    in_the_way = Path(config["dir"]) / config["dbfilename"] / "folder"
    in_the_way.parent.unlink(missing_ok=True)  # of another test
    in_the_way.mkdir(parents=True)
    link.client.config_set("save", "3600 1")
    link.client.bgsave()
    wait_until(lambda: link.client.info("persistence")["rdb_last_bgsave_status"] == "err", what="the failed save")
    try:
        yield
    finally:
        in_the_way.rmdir()
        in_the_way.parent.rmdir()
        link.client.config_set("save", "")
        link.client.save()


STATES = {"redis_full": full, "redis_read_only": replica, "redis_evicts": evicting, "redis_disk": without_disk}


@pytest.mark.parametrize("reason", STATES)
def test_a_state_of_redis_is_told(bench: Bench, reason: str) -> None:
    """By /readyz and to callers, for as long as it lasts; nothing is accepted meanwhile."""
    with STATES[reason](bench.link):
        other = RedisLink(bench.settings.redis_url)
        checks = Health(other, bench.blobs, bench.settings).checks()
        other.close()
        with pytest.raises(StoreUnavailableError) as refused:
            bench.submit(1)
    bench.link._policy_known_until = 0.0  # as 5 s later

    assert checks["redis"].startswith(f"{reason}: ")
    assert refused.value.reason == reason
    assert checks["redis"].endswith(str(refused.value))
    assert Health(bench.link, bench.blobs, bench.settings).checks()["redis"] == "ok"
    assert bench.submit(1).total == 1


@pytest.mark.parametrize("reason", [reason for reason in STATES if reason != "redis_evicts"])
def test_callers_and_new_workers_are_let_in(bench: Bench, reason: str) -> None:
    """Keys are valid though their use cannot be noted, requests are not counted, and the blob store is known."""
    keys, rates = KeyStore(bench.link), RateLimits(bench.link)
    secret, key = keys.create(KeyTerms(name="a", owner="a", rate="2/minute"))
    check_store_id(bench.link, bench.blobs)
    with STATES[reason](bench.link):
        assert keys.find(secret) == key
        assert rates.hit(key.id, "2/minute") == []
        check_store_id(bench.link, bench.blobs)

    assert [state.left for state in rates.hit(key.id, "2/minute")] == [1]


def test_a_full_redis_can_be_emptied(bench: Bench) -> None:
    """Jobs are canceled, ended and deleted, by callers and after their retention, and their bytes in the store too."""
    jobs = [bench.submit(3) for _ in range(4)]
    claimed = bench.queue.claim("default", 2).images
    done = bench.submit(1)
    bench.store.cancel(done.id)
    bench.duties.run_due()
    bench.link.client.zadd("sl:due", {f"retire:{done.id}": 0})

    with full(bench.link):
        for job in jobs:
            bench.store.cancel(job.id)
        bench.queue.hand_back(claimed, started=False)
        while bench.duties.run_due():
            continue
        assert [bench.check(job.id).canceled for job in jobs] == [3] * 4
        for job in jobs:
            bench.store.delete(job.id)
        while bench.duties.run_due():
            continue
        for job in (*jobs, done):
            with pytest.raises(JobGoneError):
                bench.store.get(job.id)
        bench.link.client.delete("sl:tidied")
        bench.link.run("lanes/sweep", 1000)

    assert bench.link.client.xlen("sl:lane:default:interactive") == 0
    assert bench.link.client.keys("sl:job:*") == []
    assert not any(bench.link.client.hgetall("sl:open")[name] != "0" for name in ("images", "bytes"))
    assert not list(Path(bench.settings.blob_url).rglob("*.jsonl"))


def test_a_full_redis_keeps_what_is_in_flight(bench: Bench) -> None:
    """A result is not stored and not lost: the worker that has it tries again, and it is stored when there is room."""
    job = bench.submit(1)
    claimed = bench.queue.claim("default", 1).images
    with full(bench.link):
        with pytest.raises(StoreUnavailableError, match="Redis is full"):
            bench.settle(claimed)
        assert bench.queue.renew([image.key for image in claimed]) == set()
    bench.settle(claimed)

    assert bench.check(job.id).succeeded == 1


def test_upkeep_is_woken_for_in_a_full_redis(bench: Bench) -> None:
    """It deletes what is over; as ever no more than two messages wait."""
    wakeups = CeleryWakeUps(bench.link, create_celery(bench.settings))
    with full(bench.link):
        for _ in range(5):
            wakeups.wake_for_upkeep(DUTIES_TASK, once_in=60.0)
            bench.link.client.delete(f"sl:upkeep:{DUTIES_TASK}")
        wakeups.wake_for_duties()
        assert 1 <= bench.link.client.llen(UPKEEP_QUEUE) <= 2
    wakeups.close()
