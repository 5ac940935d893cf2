"""The records of duties: a doer that was paused takes nothing off that is not its own, and no need is forgotten."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.workers.queue.conftest import Bench
from tests.support.polling import wait_until
from workers.errors import StoreUnavailableError
from workers.jobs.job import JobState
from workers.jobs.options import JobOptions
from workers.sources.origins.simple import Files

SHORT, LONG = 20, 60_000  # ms


def lease(bench: Bench, milliseconds: int) -> tuple[str, str]:
    """The duty that is due, once one is, and its lease."""
    leased: list[Any] = []

    def look() -> bool:
        leased[:] = bench.link.run("duties/lease_duty", milliseconds) or []
        return bool(leased)

    wait_until(look)
    return leased[0], leased[1]


def test_a_late_doer_does_not_end_anothers_duty(bench: Bench) -> None:
    """Its lease ran out and somebody else has the duty: the record is that doer's."""
    job = bench.submit(100)
    bench.queue.claim("default", 24)
    duty, late = lease(bench, SHORT)
    again, other = lease(bench, LONG)
    assert duty == again == f"topup:{job.id}"
    bench.link.run("duties/end_duty", duty, late)
    assert bench.link.client.zscore("sl:due", duty) == float(other)
    bench.link.run("duties/end_duty", duty, other)
    assert bench.link.client.zscore("sl:due", duty) is None


def test_what_is_claimed_during_a_top_up_makes_it_due_again(bench: Bench) -> None:
    """The claim finds the record there and adds none; the top-up looks again before it takes its record off."""
    job = bench.submit(100)
    bench.queue.claim("default", 24)
    duty, mine = lease(bench, LONG)
    assert bench.queue.claim("default", 8).duty_due is False
    eight = [part for number in range(8) for part in (f"{number}.jpg", "blob:x", "")]
    assert bench.link.run("lanes/topup", duty, mine, job.id, 32, 32, 0, *eight) == 1
    assert bench.link.run("duties/lease_duty", LONG)[0] == duty


def test_a_segment_that_comes_while_its_jobs_blobs_are_deleted_goes_too(bench: Bench) -> None:
    """The one who deletes may be done with it already, and then takes its record off: the need was noted anew."""
    path = "jobs/job_0/results/000000.jsonl.gz"
    bench.link.client.zadd("sl:due", {"purge:jobs/job_0": 1})
    duty, mine = lease(bench, LONG)
    bench.store._segments._seal("job_0", 0, {"0": "{}"})
    bench.link.run("duties/end_duty", duty, mine)
    assert bench.blobs._files.exists(bench.blobs._path(path))
    bench.duties.run_due()
    assert not bench.blobs._files.exists(bench.blobs._path(path))


def test_an_upload_that_took_too_long_leaves_nothing(bench: Bench) -> None:
    """Given up in its middle, it makes no job, and what it stored after that goes as well."""

    def files() -> Iterator[tuple[str, io.BytesIO]]:
        yield "0.jpg", io.BytesIO(b"x")
        drafts = bench.link.client.zrange("sl:due", 0, -1)
        assert {draft.split("/")[0] for draft in drafts} == {"draft:jobs", "draft:uploads"}
        bench.link.client.zadd("sl:due", dict.fromkeys(drafts, 1))
        bench.duties.run_due()
        yield "1.jpg", io.BytesIO(b"y")

    with pytest.raises(StoreUnavailableError, match="given up"):
        bench.intake.submit(Files(files()), JobOptions("default"))
    bench.duties.run_due()
    assert bench.link.client.zcard("sl:due") == 0
    assert [path for path in Path(bench.settings.blob_url).rglob("*") if path.is_file()] == []


def test_what_somebody_waits_for_goes_before_what_tidies_up(bench: Bench) -> None:
    """However much of that is due, and for however long: a lane is filled up, and a job ended, by the next two."""
    yesterday = (time.time() - 86400) * 1000
    bench.link.client.zadd("sl:due", {f"retire:job_{number:032x}": yesterday for number in range(500)})
    large, canceled = bench.submit(100), bench.submit(1)
    bench.store.cancel(canceled.id)
    bench.queue.claim("default", 24)
    bench.duties.run_due(2)
    assert int(bench.link.client.hget(f"sl:job:{large.id}", "fed")) > 32
    assert bench.check(canceled.id).state is JobState.CANCELED
