"""The job store: jobs, their counts and their results, in Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.errors import JobNotFoundError, StoreUnavailableError
from workers.finished import FinishedListener
from workers.jobs import ImageSource, Job, NewJob, is_id
from workers.redis_link import RedisLink, translated

SEGMENT = 1000  # images; also in scripts/common.lua
_PAGE = 100  # results of one read


@dataclass(frozen=True)
class Outcome:
    """What became of one delivery of an image: its result, ready to be stored and shown."""

    stream: str
    entry: str
    job: str
    index: int
    attempt: str
    state: str
    model_version: int | None
    result: str


class JobStore:
    """Jobs by id. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._finished = FinishedListener(link)

    def close(self) -> None:
        """End the subscription for finished jobs."""
        self._finished.close()

    def create(self, job: NewJob, first: Sequence[ImageSource], offset: int) -> Job:
        """Create a job whose manifest is stored, with its first window of work; then it is accepted.

        `offset` is where in the manifest, in bytes, the window ends.
        """
        flat = [part for source in first for part in (source.name, source.ref)]
        options = job.options
        created = self._link.run(
            "create", job.id, options.to_json(), options.model, job.lane, job.total, job.upload, offset, *flat
        )
        if created is None:
            raise StoreUnavailableError("The upload took too long and was given up: send it again.")
        return Job.from_hash(job.id, dict(zip(created[::2], created[1::2], strict=True)))

    def get(self, job_id: str) -> Job:
        """The job as one atomic read finds it; raises JobNotFoundError."""
        stored: dict[str, str] = {}
        if is_id("job", job_id):  # the job's other keys begin alike
            with translated():
                stored = self._link.client.hgetall(f"sl:job:{job_id}")
        if not stored:
            raise JobNotFoundError(f"There is no job {job_id!r}: check the id; jobs are kept for a limited time.")
        return Job.from_hash(job_id, stored)

    def wait(self, job_id: str, timeout: float) -> Job:
        """The job once it is terminal, or as it stands after `timeout` seconds; raises JobNotFoundError."""
        with self._finished.waiting_for(job_id) as finished:
            job = self.get(job_id)
            if not job.state.terminal and timeout > 0:
                finished.wait(timeout)
                job = self.get(job_id)
        return job

    def results(self, job_id: str, start: int = 0) -> Iterator[str]:
        """The finished prefix of the results from index `start` on, one JSON object a result.

        Raises JobNotFoundError, at once.
        """
        return self._results(job_id, start, self.get(job_id).total)

    def _results(self, job_id: str, start: int, total: int) -> Iterator[str]:
        index = start
        while index < total:
            segment, end = index // SEGMENT, min(total, index + _PAGE, (index // SEGMENT + 1) * SEGMENT)
            with translated():
                page = self._link.client.hmget(f"sl:job:{job_id}:seg:{segment}", [str(i) for i in range(index, end)])
            for result in page:
                if result is None:
                    return
                yield result
            index = end

    def settle(self, outcomes: Sequence[Outcome]) -> bool:
        """Write results, once each, with the counts and what follows from them; says whether a duty is due now."""
        flat: list[object] = []
        for one in outcomes:
            version = "" if one.model_version is None else one.model_version
            flat += [one.stream, one.entry, one.job, one.index, one.attempt, one.state, version, one.result]
        return bool(self._link.run("settle", *flat)[1])
