"""Everything is killed and frozen at random while clients submit, cancel, retry and delete: then it heals by itself.

SHELFLINE_TEST_CHAOS_SECONDS makes it longer, SHELFLINE_TEST_SEED another one. What happened is printed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from serving.errors import ShelflineError
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.job import Job

from .conftest import LEASE, photo, slowly
from .test_outages import Redis

pytestmark = pytest.mark.process

SECONDS = float(os.environ.get("SHELFLINE_TEST_CHAOS_SECONDS", "12"))
SEED = int(os.environ.get("SHELFLINE_TEST_SEED", "4"))
HEALED = 90  # seconds in which all must be done, on a busy machine
WORKERS = ("prefork", "threads", "prefork")
BAD = b"no image"
PHOTOS = [BAD if number % 10 == 9 else photo(number) for number in range(40)]


class Client(threading.Thread):
    """Submits jobs, and now and then changes one of its own; remembers what it was told."""

    def __init__(self, redis: Redis, seed: int) -> None:
        super().__init__()
        self._front, self._random = redis.front, random.Random(seed)  # noqa: S311  no secret
        self._over = threading.Event()
        self.accepted: dict[str, Job] = {}
        self.changed: set[str] = set()  # canceled or deleted, or so it was asked
        self.results: dict[str, list[str]] = {}  # of jobs that were seen to be over

    def run(self) -> None:
        while not self._over.is_set():
            with suppress(ShelflineError):
                self._act()
            time.sleep(self._random.uniform(0.0, 0.3))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _act(self) -> None:
        store, what = self._front.store, self._random.random()
        if what < 0.5 or not self.accepted:
            job = self._front.submit(*PHOTOS[: self._random.choice([1, 2, 10, 40])])
            self.accepted[job.id] = job
            return
        key = self._random.choice(list(self.accepted))
        if what < 0.8:
            if store.get(key).state.terminal and key not in self.changed:
                lines = list(store.results(key))
                assert self.results.setdefault(key, lines) == lines
        elif what < 0.9:
            again = self._front.intake.retry(key)
            self.accepted[again.id] = again
        else:
            self.changed.add(key)
            (store.cancel if what < 0.95 else store.delete)(key)


class Chaos:
    """What can be done to workers, Redis and the model server; `harmed` counts what may look like a worker's death."""

    def __init__(self, redis: Redis, server: ScriptedServer, log: Path) -> None:
        self._redis, self._server, self._log = redis, server, log
        self._random = random.Random(SEED)  # noqa: S311  likewise
        self.workers = [CeleryWorker(redis.front.settings, pool, log) for pool in WORKERS]
        self.harmed = 0

    def run(self) -> None:
        """Do harm for a while, and then no more."""
        acts: list[Callable[[], None]] = [self.kill, self.kill, self.freeze, self.freeze, self.kill_pool_process]
        acts += [self.restart_redis, self.freeze_redis, self.restart_model_server]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(self._random.uniform(0.2, 1.2))
            act = self._random.choice(acts)
            print(f"{time.monotonic() - end + SECONDS:6.2f} {act.__name__}")  # noqa: T201  for whoever asks why
            act()
        for worker in self.workers:
            worker.signal_group(signal.SIGCONT)

    def _any(self) -> int:
        self.harmed += 1
        return self._random.randrange(len(self.workers))

    def _moment(self) -> None:
        time.sleep(self._random.uniform(0.1, 1.5 * LEASE))

    def kill(self) -> None:
        number = self._any()
        self.workers[number].kill()
        self.workers[number] = CeleryWorker(self._redis.front.settings, WORKERS[number], self._log)

    def kill_pool_process(self) -> None:
        self.workers[2].signal_group(signal.SIGCONT)
        if self.workers[2].pool_process.pid != self.workers[2].process.pid:
            self.harmed += 1
            self.workers[2].pool_process.kill()

    def freeze(self) -> None:
        """Until somebody wakes it: the next freeze of it, or the end."""
        number = self._any()
        self.workers[number].signal_group(signal.SIGCONT)
        self.workers[number - 1].signal_group(signal.SIGSTOP)

    def restart_redis(self) -> None:
        self._redis.server.kill()
        self._moment()
        self._redis.server.start()

    def freeze_redis(self) -> None:
        assert self._redis.server.process is not None
        self._redis.server.process.send_signal(signal.SIGSTOP)
        self._moment()
        self._redis.server.process.send_signal(signal.SIGCONT)

    def restart_model_server(self) -> None:
        self._server.stop()
        self._moment()
        self._server.start()

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()


@pytest.fixture
def own(tmp_path: Path, server: ScriptedServer) -> Iterator[Redis]:
    started = Redis(tmp_path, server)
    yield started
    started.close()


def test_chaos(own: Redis, server: ScriptedServer, tmp_path: Path) -> None:
    """No accepted job is lost or stays unfinished, each image has one result, what was done stays as it was."""
    slowly(server, 0.02)
    clients = [Client(own, SEED + number) for number in range(3)]
    chaos = Chaos(own, server, tmp_path / "worker.log")
    try:
        for client in clients:
            client.start()
        try:
            chaos.run()
        finally:
            for client in clients:
                client.stop()
        wait_until(own.link.client.ping)
        jobs = own.link.client.zrange("sl:jobs", 0, -1)
        wait_until(lambda: all(own.front.store.get(job).state.terminal for job in jobs), HEALED, "the end of all jobs")
    finally:
        chaos.end()
    changed = set[str]().union(*(client.changed for client in clients))
    crashed = sum(check(own, job, changed=job in changed) for job in jobs)
    print(f"{len(jobs)} jobs, {crashed} images failed as what killed their workers, {chaos.harmed} harms")  # noqa: T201
    assert 2 * crashed <= chaos.harmed  # after the first death an image runs alone, and dies twice more
    for client in clients:
        assert set(client.accepted) - changed <= set(jobs)
        for job, lines in client.results.items():
            assert job in changed or list(own.front.store.results(job)) == lines
    nothing_waits(own)


def check(own: Redis, key: str, *, changed: bool) -> int:
    """Each image has its one result, the right one; returns how many failed as what killed their workers."""
    job = own.front.store.get(key)
    lines = [json.loads(line) for line in own.front.store.results(key)]
    assert [line["index"] for line in lines] == list(range(job.total))
    for state in ("succeeded", "failed", "canceled"):
        assert sum(line["state"] == state for line in lines) == getattr(job, state)
    assert not job.canceled or changed
    crashed = 0
    for line in lines:
        code = line.get("error", {}).get("code")
        crashed += code == "crashed_worker"
        if line["state"] != "canceled" and not job.retry_of:
            good = PHOTOS[line["index"]] is not BAD
            assert code in ((None, "crashed_worker") if good else ("unsupported_format", "crashed_worker")), line
    return crashed


def nothing_waits(own: Redis) -> None:
    client = own.link.client
    for lane in ("interactive", "bulk"):
        assert client.xlen(f"sl:lane:default:{lane}") == 0
    assert {count for name, count in client.hgetall("sl:open").items() if not name.startswith("bytes")} == {"0"}
    due = {duty.partition(":")[0] for duty in client.zrange("sl:due", 0, -1)}
    assert due <= {"retire", "draft", "purge"}
