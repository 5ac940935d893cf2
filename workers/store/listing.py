"""Pages of jobs, newest first. The cost of a page does not grow with the number of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from workers.io.redis_link import RedisLink
from workers.jobs.job import Job

_MOST_LOOKS = 1000  # jobs that one page may examine; Redis does nothing else meanwhile


@dataclass(frozen=True)
class Place:
    """A place in a listing: after the job with this id, which was created at `created_ms` (ms since the epoch)."""

    created_ms: int
    id: str


@dataclass(frozen=True)
class Wanted:
    """A filter of jobs; '' and None match all.

    `since` (inclusive) and `until` (exclusive) bound the time of creation, in seconds since the epoch.
    """

    state: str = ""
    model: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Page:
    """Jobs, newest first. `behind` is the place where the next page starts; None at the end.

    If few of many jobs match, a page may have fewer jobs than its limit, or none, and still a next page.
    """

    jobs: tuple[Job, ...]
    behind: Place | None


class Listing:
    """Jobs in pages. A page starts after a given job, so that created and deleted jobs do not shift the pages."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def page(self, owner: str | None, wanted: Wanted, limit: int, behind: Place | None = None) -> Page:
        """Return at most `limit` jobs of an owner; None stands for all owners.

        Raises StoreUnavailableError if Redis is down.
        """
        newest = "+inf" if wanted.until is None else f"({wanted.until * 1000:.0f}"
        if behind and (wanted.until is None or behind.created_ms < wanted.until * 1000):
            newest = str(behind.created_ms)
        oldest = "-inf" if wanted.since is None else f"{wanted.since * 1000:.0f}"
        found, *place = self._link.run(
            "jobs/list",
            "sl:jobs" if owner is None else f"sl:jobs:{owner}",
            newest,
            oldest,
            behind.id if behind else "",
            limit,
            _MOST_LOOKS,
            wanted.state,
            wanted.model,
        )
        jobs = tuple(Job.from_hash(job, dict(zip(flat[::2], flat[1::2], strict=True))) for job, flat in found)
        return Page(jobs, Place(int(place[0]), place[1]) if place else None)
