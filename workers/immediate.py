"""One image whose caller waits for the result: whether it is worth while, and the waiting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workers.errors import WaitTooLongError
from workers.jobs import Job, JobOptions
from workers.load import Load
from workers.store import JobStore


@dataclass(frozen=True)
class Answer:
    """A job of one image as it stood at the end of the wait, and the image's result (JSON) where it was done."""

    job: Job
    result: str | None


class Immediate:
    """Waits for jobs of one image. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, store: JobStore, load: Load) -> None:
        self._store = store
        self._load = load

    def check_wait(self, options: JobOptions, seconds: float) -> None:
        """Raise WaitTooLongError where an image accepted now would hardly be done in so many seconds.

        Where nothing was measured yet nobody knows, and the image is worth a try.
        """
        expected = self._load.wait_seconds(options.target, "interactive")
        if expected is not None and expected > seconds:
            about = math.ceil(10 * expected) / 10  # never 0, never less than the call's
            raise WaitTooLongError(
                f"An image waits about {about:g} s for its turn now, longer than the {seconds:g} s of this call. "
                "Try again later, wait longer (Prefer: wait=), or send it as a job, to POST /v1/jobs.",
                math.ceil(expected - seconds),
            )

    def result(self, job: Job, seconds: float) -> str | None:
        """The result (JSON) of a job of one image as soon as it is settled, None where it was not in so many seconds.

        What follows in a job from its last result is not waited for. Raises JobNotFoundError, JobGoneError.
        """
        return self._store.wait_for_result(job.id, seconds)

    def answer(self, job: Job, seconds: float) -> Answer:
        """The job and its result once it is over, or as it stands after so many seconds.

        Raises JobNotFoundError, JobGoneError where it was deleted meanwhile.
        """
        if seconds <= 0 and not job.state.terminal:
            return Answer(job, None)
        return Answer(*self._store.wait_for_one(job.id, seconds))
