"""Capacity: quotas on how much may wait and be stored, and estimates of how long jobs take."""

from __future__ import annotations

import math

from serving.errors import ShelflineError
from workers.errors import QueueFullError, TooManyBytesError, TooManyImagesError, WaitTooLongError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Estimate, Job, JobState, Quota
from workers.jobs.options import parse_target
from workers.settings import Settings

_RETRY_AFTER, _MAX_RETRY_AFTER = 60, 3600  # seconds: if nothing was measured, and at most


def quotas(settings: Settings, images: int, byte_count: int, owner: str, quota: Quota) -> list[list[str]]:
    """Return the quotas on a job, as [field of `sl:open`, what the job adds, the most allowed]; all as text."""
    limits = [("images", images, settings.max_waiting_images), ("bytes", byte_count, settings.max_blob_bytes)]
    if owner:
        limits += [
            (f"images:{owner}", images, quota.max_waiting_images or settings.max_waiting_images_per_key),
            (f"bytes:{owner}", byte_count, quota.max_blob_bytes or settings.max_blob_bytes_per_key),
        ]
    return [[str(part) for part in limit] for limit in limits]


def too_many(field: str, added: int, allowed: int) -> TooManyImagesError | TooManyBytesError:
    """Return the error of a job that exceeds a quota by itself, so that it would not fit into an empty queue either."""
    if field.partition(":")[0] == "bytes":
        return TooManyBytesError(
            f"The job has {added} bytes, and at most {allowed} may be stored: make several jobs of it."
        )
    return TooManyImagesError(f"The job has {added} images, and at most {allowed} may wait: make several jobs of it.")


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

    def wait_seconds(self, target: str) -> float | None:
        """Return how many seconds an interactive image that is accepted now waits; None if nothing was measured yet."""
        with translated(), self._link.client.pipeline(transaction=False) as together:
            together.hget("sl:open", f"lane:{target}:interactive")
            together.hmget(_rate_key(target), "rows", "ms")
            ahead, measured = together.execute()
        rate = _rate(*measured)
        return int(ahead or 0) / rate if rate else None

    def check_wait(self, target: str, seconds: float) -> None:
        """Raise WaitTooLongError if an image that is accepted now would probably not be done in so many seconds.

        Does not raise if nothing was measured yet, since the image may be done in time.
        """
        expected = self.wait_seconds(target)
        if expected is not None and expected > seconds:
            about = math.ceil(10 * expected) / 10  # rounded up: never 0, never less than the call's seconds
            raise WaitTooLongError(
                f"An image waits about {about:g} s for its turn now, longer than the {seconds:g} s of this call. "
                "Try again later, wait longer (Prefer: wait=), or send it as a job, to POST /v1/jobs.",
                math.ceil(expected - seconds),
            )

    def estimate(self, job: Job) -> Estimate:
        """Return the queue position of a job and the seconds until it ends. The cost does not depend on its size.

        Jobs share their lane fairly. So until this job is done, every other job of the lane processes as many images
        as this one, or all that it has.
        """
        if not job.state.waits:
            return Estimate(None, None if job.state is JobState.ENUMERATING else 0.0)
        numbers = job.queue_numbers or self._link.run("jobs/queue_position", job.id, job.options.target, job.lane)
        before, jobs, in_lane, interactive, *measured = numbers
        rows = min(int(in_lane or 0), (job.queued + job.running) * job.rows_each * max(jobs, 1))
        if job.lane == "bulk":
            rows += int(interactive or 0)
        rate = _rate(*measured)
        return Estimate(before, rows / rate if rate else None)

    def refusal(self, target: str, field: str, *numbers: str) -> ShelflineError:
        """Return the error of a job that exceeds a quota.

        `field` and `numbers` (in use, what the job adds, the most allowed) are the answer of a script.
        """
        in_use, added, allowed = map(int, numbers)
        if added > allowed:
            return too_many(field, added, allowed)
        images = field.partition(":")[0] == "images"
        what = "images wait" if images else "bytes of images are stored"
        seconds = self.seconds_for(target, in_use + added - allowed) if images else None
        retry_after = round(min(max(seconds or _RETRY_AFTER, 1), _MAX_RETRY_AFTER))
        return QueueFullError(
            f"The queue is full: {in_use} {what}, at most {allowed} may. Send the job again in {retry_after} s.",
            retry_after,
        )


def _rate_key(target: str) -> str:
    return f"sl:rate:{parse_target(target)[0]}"


def _rate(rows: str | None, ms: str | None) -> float | None:
    return 1000 * float(rows) / float(ms) if rows and ms and float(ms) else None
