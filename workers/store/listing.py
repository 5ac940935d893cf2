"""Jobs listed, newest first, a page at a time, at a cost that does not grow with how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from workers.io.redis_link import RedisLink
from workers.jobs.job import Job

_MOST_LOOKS = 1000  # jobs of one page that may turn out not to be wanted: Redis does nothing else meanwhile


@dataclass(frozen=True)
class Place:
    """A place in a list: behind the job that was created at `created_ms` and has this id."""

    created_ms: int
    id: str


@dataclass(frozen=True)
class Wanted:
    """Which jobs; empty and None take all. Times are seconds since the epoch: `since` itself counts, `until` not."""

    state: str = ""
    model: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first, and where the next ones are: None at the end.

    A page of few wanted among many may have fewer jobs than its limit, or none, and yet a next one.
    """

    jobs: tuple[Job, ...]
    behind: Place | None


class Listing:
    """The jobs of an owner. A page begins behind a job that is named: it stays right while jobs come and go."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def page(self, owner: str | None, wanted: Wanted, limit: int, behind: Place | None = None) -> Page:
        """At most `limit` jobs of an owner, None: of all; raises StoreUnavailableError."""
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
