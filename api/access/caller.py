"""Who calls, and what is theirs: another owner's job looks as one that there never was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import g, request

from api.http.request_ids import this_request
from workers.errors import JobGoneError
from workers.jobs.job import NO_QUOTA, Job, Quota
from workers.jobs.output import Output
from workers.jobs.submission import Terms
from workers.jobs.webhook import Webhook
from workers.store.job_store import unknown_job

if TYPE_CHECKING:
    from workers.backend import Backend


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `owner` is on whose account it works, "" where no keys are configured."""

    owner: str = ""
    sees_all: bool = False
    quota: Quota = NO_QUOTA

    def sees(self, owner: str) -> bool:
        """Whether what belongs to an owner is shown to this caller."""
        return self.sees_all or owner == self.owner

    def quota_of(self, owner: str) -> Quota:
        """What bounds a job of an owner that this caller makes: the key's own quota is for its own owner."""
        return self.quota if owner == self.owner else NO_QUOTA


ANYONE: Final = Caller()


def caller() -> Caller:
    """The caller of the request being answered."""
    found: Caller = g.caller  # AttributeError rather than anybody, where nothing has bound one
    return found


def bind_caller(found: Caller) -> None:
    """Say who sent the request being answered."""
    g.caller = found


def while_welcome(pieces: Iterable[str]) -> Iterator[str]:
    """A long answer, piece by piece, which ends where the caller's key does."""
    still: Callable[[], bool] = g.get("still_welcome", lambda: True)
    for piece in pieces:
        if not still():
            return
        yield piece


def terms_of_caller(
    deadline_seconds: float | None = None,
    idempotency_key: str = "",
    metadata: Mapping[str, str] | None = None,
    webhook: Webhook | None = None,
    output: Output | None = None,
) -> Terms:
    """The terms of a job that the caller makes: on its account, within its quota, told to its webhook."""
    mine = caller()
    return Terms(
        mine.owner,
        deadline_seconds,
        idempotency_key,
        metadata or {},
        mine.quota,
        webhook,
        output=output,
        base_url=request.root_url,
        request=this_request(),
    )


def own_job(backend: Backend, job_id: str) -> Job:
    """A job of the caller's.

    Raises JobNotFoundError, in the same words whether it is another's or never was; JobGoneError, to its owner only.
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
