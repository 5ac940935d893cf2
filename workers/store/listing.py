"""Pages of jobs, newest first. The cost of a page does not grow with the number of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from workers.io.redis_link import RedisLink, hash_of
from workers.jobs.job import Job

_MAX_LOOKS = 1000  # jobs that one page may examine; Redis does nothing else meanwhile


@dataclass(frozen=True)
class Cursor:
    """A place in a list of jobs: after the job with this id, which was created at `created_ms` (ms since the epoch)."""

    created_ms: int
    id: str


@dataclass(frozen=True)
class JobFilter:
    """A filter of jobs; '' and None match all.

    `since` (inclusive) and `until` (exclusive) bound the time of creation, in seconds since the epoch.
    """

    state: str = ""
    model: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Page:
    """Jobs, newest first. `next` is where the next page starts, None if this is the last page.

    If few of many jobs match, a page may have fewer jobs than its limit, or none, and still a next page.
    """

    jobs: tuple[Job, ...]
    next: Cursor | None


class Listing:
    """Jobs in pages. A page starts after a given job, so that created and deleted jobs do not shift the pages."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def page(self, owner: str | None, filters: JobFilter, limit: int, after: Cursor | None = None) -> Page:
        """Return at most `limit` jobs of an owner; None stands for all owners.

        Raises StoreUnavailableError if Redis is down.
        """
        newest = "+inf" if filters.until is None else f"({filters.until * 1000:.0f}"
        if after and (filters.until is None or after.created_ms < filters.until * 1000):
            newest = str(after.created_ms)
        oldest = "-inf" if filters.since is None else f"{filters.since * 1000:.0f}"
        rows, *cursor = self._link.run(
            "jobs/list",
            "sl:jobs" if owner is None else f"sl:jobs:{owner}",
            newest,
            oldest,
            after.id if after else "",
            limit,
            _MAX_LOOKS,
            filters.state,
            filters.model,
        )
        jobs = tuple(Job.from_hash(job_id, hash_of(flat)) for job_id, flat in rows)
        return Page(jobs, Cursor(int(cursor[0]), cursor[1]) if cursor else None)
