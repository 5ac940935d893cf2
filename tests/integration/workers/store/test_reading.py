"""Jobs looked at while they come, go and change, on a real Redis: lists, finished results, who is told."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from serving.contract import Contract
from tests.support.models import tiny_contract
from tests.support.polling import wait_until
from tests.support.stacks.job_bench import JobBench
from workers.errors import JobGoneError
from workers.io.redis_link import RedisLink
from workers.jobs.index_set import IndexSet
from workers.settings import Settings
from workers.store.catalog import Catalog, Published
from workers.store.listing import Cursor, JobFilter


@pytest.fixture
def bench(settings: Settings, link: RedisLink) -> Iterator[JobBench]:
    made = JobBench(settings, link)
    yield made
    made.store.close()


def pages(bench: JobBench, limit: int, wanted: JobFilter | None = None, owner: str = "") -> Iterator[list[str]]:
    place: Cursor | None = None
    while True:
        page = bench.listing.page(owner, wanted or JobFilter(), limit, place)
        yield [job.id for job in page.jobs]
        place = page.next
        if place is None:
            return


def test_jobs_are_listed(bench: JobBench) -> None:
    """Newest first, each owner's own, whatever the size of the pages."""
    mine = [bench.job(owner="a").id for _ in range(7)]
    theirs = bench.job(owner="b").id
    expected = sorted(mine, key=lambda job: (bench.link.client.zscore("sl:jobs", job), job), reverse=True)
    for limit in (1, 2, 3, 7, 100):
        assert expected == [job for page in pages(bench, limit, owner="a") for job in page]
    assert [[theirs]] == list(pages(bench, 5, owner="b"))
    assert list(pages(bench, 5, owner="nobody")) == [[]]


def test_a_list_is_right_while_jobs_come_and_go(bench: JobBench) -> None:
    """Each job that was there all the time is seen exactly once; many are of the same millisecond."""
    chance = random.Random(5)  # noqa: S311  not for secrets
    jobs = [bench.job() for _ in range(60)]
    for job in jobs:
        bench.link.client.zadd("sl:jobs:", {job.id: 1_700_000_000_000 + chance.randrange(4)})
    kept, seen = {job.id for job in jobs}, []
    for page in pages(bench, 7):
        seen += page
        bench.job()
        gone = chance.choice(jobs)
        if gone.id in kept:
            bench.end(gone)
            bench.store.delete(gone.id)
            kept.discard(gone.id)
    assert len(seen) == len(set(seen))
    assert kept <= set(seen) <= {job.id for job in jobs}


def test_a_list_is_filtered(bench: JobBench) -> None:
    """By state, model and time; a page may be short and yet not the last."""
    done, other, waiting = bench.job(), bench.job(model="other"), bench.job()
    for at, job in enumerate((done, other, waiting)):
        bench.link.client.zadd("sl:jobs:", {job.id: 1_700_000_000_000 + 1000 * at})
    bench.end(done)

    def listed(**wanted: Any) -> list[str]:
        return [job for page in pages(bench, 2, JobFilter(**wanted)) for job in page]

    assert listed(state="succeeded") == [done.id]
    assert listed(state="queued") == [waiting.id, other.id]
    assert listed(model="other") == [other.id]
    assert listed(since=1_700_000_001.0) == [waiting.id, other.id]
    assert listed(until=1_700_000_001.0) == [done.id]
    assert listed(since=1_700_000_001.0, until=1_700_000_002.0, state="queued") == [other.id]
    assert bench.listing.page("", JobFilter(until=1_700_000_002.0), 1).jobs[0].id == other.id


def test_a_page_looks_at_a_bounded_number_of_jobs(bench: JobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many jobs that are not wanted a page stops early, and the next goes on."""
    monkeypatch.setattr("workers.store.listing._MAX_LOOKS", 2)
    wanted = bench.job(model="other")
    for _ in range(5):
        bench.job()
    bench.link.client.zadd("sl:jobs:", {wanted.id: 1})
    pages_of_other = list(pages(bench, 10, JobFilter(model="other")))
    assert pages_of_other[-1] == [wanted.id] or pages_of_other[-2:] == [[wanted.id], []]
    assert len(pages_of_other) >= 3


def test_what_is_finished_is_found(bench: JobBench) -> None:
    """In any order of completion, in open, full and sealed segments, a little at a time and in all."""
    job = bench.job(2500)
    order = [*range(10, 1000), *range(1003, 1010), *range(2000, 2500), 5]
    for first in range(0, len(order), 200):
        bench.settle(job, order[first : first + 200])
    bench.duties.run_due()  # seals the last segment
    everything = IndexSet.of([(0, 2500)])
    expected = IndexSet.of((index, index + 1) for index in order)
    assert expected == bench.store.finished(job.id, everything)
    assert list(bench.store.finished(job.id, IndexSet.of([(4, 12), (1999, 2001)]))) == [5, 10, 11, 2000]
    assert [bench.store.finished_end(job.id, start, 2500) for start in (0, 5, 10, 1003, 2000)] == [
        0,
        6,
        1000,
        1010,
        2500,
    ]
    assert bench.store.finished_end(job.id, 2000, 2100) == 2100
    bench.settle(job, [0, 1, 2, 3, 4, 6, 7, 8, 9])
    bench.duties.run_due()
    assert bench.store.finished_end(job.id, 0, 2500) == 1000
    bench.end(job)
    assert bench.store.finished(job.id, everything) == everything
    assert [json.loads(line)["index"] for line in bench.store.results(job.id, 998, 1002)] == [998, 999, 1000, 1001]
    bench.store.delete(job.id)
    with pytest.raises(JobGoneError):
        bench.store.finished(job.id, everything)


def test_many_images_are_looked_at_in_pieces(bench: JobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No single script holds Redis for long, and the answer is the same."""
    monkeypatch.setattr("workers.store.result_segments._MAX_LOOKS", 10)
    job = bench.job(2100)
    bench.settle(job, list(range(0, 2100, 7)))
    assert list(bench.store.finished(job.id, IndexSet.of([(0, 2100)]))) == list(range(0, 2100, 7))


def test_who_follows_a_job_is_told(bench: JobBench) -> None:
    """Of a result, of a cancel, of the end; who waits for the end alone is told of nothing else."""
    job, other = bench.job(4), bench.job()
    with bench.store.following(job.id) as changed, bench.store._listener.waiting_for(job.id) as ended:
        for change in (
            lambda: bench.settle(job, [2]),
            lambda: bench.store.cancel(job.id),
        ):
            changed.clear()
            change()
            wait_until(changed.is_set, what="the news")
        changed.clear()
        bench.settle(other, [0])
        assert not ended.is_set()
        bench.duties.run_due()
        wait_until(lambda: changed.is_set() and ended.is_set(), what="the end")


def test_followers_need_one_subscription(bench: JobBench) -> None:
    """However many follow, the process has one connection that listens."""
    job = bench.job()
    before = len(bench.link.client.client_list(_type="pubsub"))
    inside, leave = threading.Barrier(11), threading.Event()

    def follow() -> None:
        with bench.store.following(job.id):
            inside.wait()
            leave.wait(180)

    threads = [threading.Thread(target=follow) for _ in range(10)]
    for thread in threads:
        thread.start()
    inside.wait(180)
    listening = len(bench.link.client.client_list(_type="pubsub")) - before
    leave.set()
    for thread in threads:
        thread.join()
    assert listening == 1


def test_contracts_outlive_their_versions(link: RedisLink) -> None:
    """Results are read long after another version has come."""
    catalog = Catalog(link)
    old, new = tiny_contract(), tiny_contract(height=64)
    catalog.publish(Published("default", "", 1, old.to_json()))
    catalog.publish(Published("default", "", 12, new.to_json()))
    catalog.publish(Published("default", "away"))
    expected: list[Contract] = [new, old]
    assert expected == catalog.contracts("default", [1, 12, 13])
    assert catalog.contracts("default", []) == []
