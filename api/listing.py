"""The route that lists jobs."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, Response, url_for
from pydantic import AwareDatetime, BeforeValidator, Field

from api.access import caller
from api.answers import Answer
from api.checking import Asked
from api.errors import UnprocessableError
from api.openapi import Api
from api.showing import answer, shown
from workers.errors import StoreUnavailableError
from workers.jobs.document import JobsDocument
from workers.jobs.job import JobState, is_id
from workers.store.listing import Place, Wanted

if TYPE_CHECKING:
    from workers.backend import Backend

_PLACE = re.compile(r"([0-9]{1,15})\.(job_[0-9a-f]{32})")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _time(text: str) -> str:
    """A time as RFC 3339 has it; pydantic alone takes numbers and days too."""
    if not _TIME.fullmatch(text):
        raise ValueError("give a time with its zone, as in 2026-01-31T08:30:00Z (RFC 3339)")
    return text


Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class ListQuery(Asked):
    """Which jobs."""

    state: JobState | None = Field(default=None, description="Only jobs in this state.")
    model: Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = Field(
        default=None, description="Only jobs of this model."
    )
    created_after: Time | None = Field(default=None, description="Only jobs created then or later.")
    created_before: Time | None = Field(default=None, description="Only jobs created earlier.")
    limit: int = Field(default=20, ge=1, le=100, description="At most so many.")
    cursor: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Where to go on: from an earlier page's `next`.",
    )


def list_routes(backend: Backend, api: Api) -> Blueprint:
    """The route GET /v1/jobs."""
    routes = Blueprint("listing", __name__, url_prefix="/v1/jobs")

    @routes.get("")
    @api.describe(
        Answer({"application/json": JobsDocument}, headers=("ETag",)),
        Answer(status=304),
        tag="jobs",
        query=ListQuery,
        problems=(UnprocessableError, StoreUnavailableError),
    )
    def listed(query: ListQuery) -> Response:
        """List your jobs, newest first.

        Jobs that come or go meanwhile shift no page: each job that is there all the time is seen once.
        """
        wanted = Wanted(
            query.state or "", query.model or "", _seconds(query.created_after), _seconds(query.created_before)
        )
        owner = None if caller().sees_all else caller().owner
        page = backend.listing.page(owner, wanted, query.limit, _place(query.cursor))
        next_url = None
        if page.behind:
            given = query.model_dump(mode="json", exclude_none=True) | {"cursor": _cursor(page.behind)}
            next_url = url_for("listing.listed", _external=True, **given)
        return answer(JobsDocument(data=[shown(backend, job) for job in page.jobs], next=next_url))

    return routes


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.created_ms}.{place.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> Place | None:
    """The place that a cursor stands for; raises UnprocessableError for a text that is none."""
    if not cursor:
        return None
    try:
        found = _PLACE.fullmatch(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode())
    except ValueError:
        found = None
    if not found or not is_id("job", found[2]):
        raise UnprocessableError("cursor: give one from the `next` of an earlier page, as it is.")
    return Place(int(found[1]), found[2])


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
