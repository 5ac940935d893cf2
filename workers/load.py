"""How much waits, how fast it goes, and so how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from workers.io.redis_link import RedisLink, translated
from workers.jobs import Job, JobState, Lane, parse_target


@dataclass(frozen=True)
class Estimate:
    """Where a job stands.

    `queue_position` is how many unfinished jobs of its lane were accepted before it, None where it no longer waits;
    `eta_seconds` how long until it ends, None where nothing was measured yet.
    """

    queue_position: int | None
    eta_seconds: float | None


class Load:
    """Estimates from what workers measured. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def rate(self, target: str) -> float | None:
        """Rows a second, of all workers, while there is work; None where nothing was measured yet.

        A target is a model or one version of it (JobOptions.target); the rate is that of all its versions.

        Recent work counts more: half as much after each 30 s of work.
        """
        with translated():
            return _rate(*self._link.client.hmget(_rate_key(target), "rows", "ms"))

    def seconds_for(self, target: str, rows: float) -> float | None:
        """How long the workers need for so many rows; None where nothing was measured yet."""
        rate = self.rate(target)
        return rows / rate if rate else None

    def wait_seconds(self, target: str, lane: Lane) -> float | None:
        """How long an image that is accepted now waits for its turn; None where nothing was measured yet."""
        with translated(), self._link.client.pipeline(transaction=False) as together:
            together.hmget("sl:open", f"lane:{target}:interactive", f"lane:{target}:bulk")
            together.hmget(_rate_key(target), "rows", "ms")
            ahead, measured = together.execute()
        interactive, bulk = (int(count or 0) for count in ahead)
        rate = _rate(*measured)
        return (interactive + (bulk if lane == "bulk" else 0)) / rate if rate else None

    def estimate(self, job: Job) -> Estimate:
        """Where a job stands, at the same small cost whatever its size.

        Jobs share their lane fairly: until this one is done, each other does as many images, or all that it has.
        """
        if not job.state.waits:
            return Estimate(None, None if job.state is JobState.ENUMERATING else 0.0)
        standing = job.standing or self._link.run("jobs/queue_position", job.id, job.options.target, job.lane)
        rank, jobs, in_lane, interactive, *measured = standing
        rows = min(int(in_lane or 0), (job.queued + job.running) * job.rows_each * max(jobs, 1))
        if job.lane == "bulk":
            rows += int(interactive or 0)
        rate = _rate(*measured)
        return Estimate(rank, rows / rate if rate else None)


def _rate_key(target: str) -> str:
    return f"sl:rate:{parse_target(target)[0]}"


def _rate(rows: str | None, ms: str | None) -> float | None:
    return 1000 * float(rows) / float(ms) if rows and ms and float(ms) else None
