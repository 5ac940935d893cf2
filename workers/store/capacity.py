"""Capacity: estimates of how long jobs take, and quotas on how much may wait and be stored."""

from __future__ import annotations

from serving.errors import ShelflineError
from workers.errors import QueueFullError, TooManyImagesError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Estimate, Job, JobState, Quota
from workers.jobs.options import Lane, parse_target
from workers.settings import Settings


class Capacity:
    """Estimates from the rates that workers measured. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def rate(self, target: str) -> float | None:
        """Return the rows per second of all workers while there is work; None if nothing was measured yet.

        The target is a model or one version of it (JobOptions.target). The rate is that of all versions of the model.
        Recent work counts more: its weight halves with each 30 s of later work.
        """
        with translated():
            return _rate(*self._link.client.hmget(_rate_key(target), "rows", "ms"))

    def seconds_for(self, target: str, rows: float) -> float | None:
        """Return how many seconds the workers need for so many rows; None if nothing was measured yet."""
        rate = self.rate(target)
        return rows / rate if rate else None

    def wait_seconds(self, target: str, lane: Lane) -> float | None:
        """Return how many seconds an image that is accepted now would wait; None if nothing was measured yet."""
        with translated(), self._link.client.pipeline(transaction=False) as together:
            together.hmget("sl:open", f"lane:{target}:interactive", f"lane:{target}:bulk")
            together.hmget(_rate_key(target), "rows", "ms")
            ahead, measured = together.execute()
        interactive, bulk = (int(count or 0) for count in ahead)
        rate = _rate(*measured)
        return (interactive + (bulk if lane == "bulk" else 0)) / rate if rate else None

    def estimate(self, job: Job) -> Estimate:
        """Return the queue position of a job and the seconds until it ends. The cost does not depend on its size.

        Jobs share their lane fairly. So until this job is done, every other job of the lane processes as many images
        as this one, or all that it has.
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


_RETRY_AFTER, _MOST_RETRY_AFTER = 60, 3600  # seconds: if nothing was measured, and at most


def limits(settings: Settings, images: int, byte_count: int, owner: str, quota: Quota) -> list[list[str]]:
    """Return the quotas on a job, as [field of `sl:open`, what the job adds, the most allowed]; all as text."""
    found = [("images", images, settings.max_waiting_images), ("bytes", byte_count, settings.max_blob_bytes)]
    if owner:
        found += [
            (f"images:{owner}", images, quota.max_waiting_images or settings.max_waiting_images_per_key),
            (f"bytes:{owner}", byte_count, quota.max_blob_bytes or settings.max_blob_bytes_per_key),
        ]
    return [[str(part) for part in limit] for limit in found]


def too_many(field: str, more: int, most: int) -> TooManyImagesError:
    """Return the error of a job that exceeds a quota by itself, so that it would not fit into an empty queue either."""
    return TooManyImagesError(
        f"The job has {more} {field.partition(':')[0]}, and at most {most} may wait: make several jobs of it."
    )


def refused(load: Capacity, target: str, field: str, *numbers: str) -> ShelflineError:
    """Return the error of a job that exceeds a quota.

    `field` and `numbers` (in use, what the job adds, the most allowed) are the answer of a script.
    """
    there, more, most = map(int, numbers)
    if more > most:
        return too_many(field, more, most)
    images = field.partition(":")[0] == "images"
    what = "images wait" if images else "bytes of images are stored"
    again = load.seconds_for(target, there + more - most) if images else None
    retry_after = round(min(max(again or _RETRY_AFTER, 1), _MOST_RETRY_AFTER))
    return QueueFullError(
        f"The queue is full: {there} {what}, at most {most} may. Send the job again in {retry_after} s.", retry_after
    )
