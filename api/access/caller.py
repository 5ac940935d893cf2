"""The authenticated caller, and access to jobs by owner. Another owner's job answers 404."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from flask import g

from api.http.links import link_base
from api.http.request_ids import this_request
from workers.backend import Backend
from workers.errors import JobGoneError
from workers.jobs.job import NO_QUOTA, Job, Quota
from workers.jobs.submission import Submission
from workers.store.job_store import unknown_job


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    `owner` is the owner of the jobs that it makes, "" if the API needs no keys. `sees_all`: the key has the scope
    `admin`, which gives access to the jobs of every owner.
    """

    owner: str = ""
    sees_all: bool = False
    quota: Quota = NO_QUOTA

    def sees(self, owner: str) -> bool:
        """Return whether this caller may see what belongs to an owner."""
        return self.sees_all or owner == self.owner

    def quota_of(self, owner: str) -> Quota:
        """Return the quota for a job that this caller makes for an owner; the key's quota limits its own owner only."""
        return self.quota if owner == self.owner else NO_QUOTA


ANYONE: Final = Caller()


def caller() -> Caller:
    """Return the caller of the current request."""
    bound: Caller = g.caller  # an AttributeError is safer than a default caller if none was bound
    return bound


def bind_caller(caller: Caller) -> None:
    """Set the caller of the current request."""
    g.caller = caller


def while_key_is_valid(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a long response; stop if the caller's key is revoked, expires or cannot be checked."""
    is_valid: Callable[[], bool] = g.get("key_is_valid", lambda: True)
    for piece in pieces:
        if not is_valid():
            return
        yield piece


def by_caller(submission: Submission) -> Submission:
    """Return a submission as the current caller's: with the owner, the quota and the request."""
    owner, quota = caller().owner, caller().quota
    return replace(submission, owner=owner, quota=quota, base_url=link_base(), request=this_request())


def own_job(backend: Backend, job_id: str) -> Job:
    """Return a job that the caller may see.

    Raises JobNotFoundError; the same for a missing job and another owner's, so that ids cannot be probed. Raises
    JobGoneError for a deleted job if the caller may see its owner's jobs.
    """
    try:
        job = backend.store.get(job_id)
    except JobGoneError as error:
        if not caller().sees(error.owner):
            raise unknown_job(job_id) from error
        raise
    if not caller().sees(job.owner):
        raise unknown_job(job_id)
    return job
