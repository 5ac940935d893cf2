"""A job's server-sent events (WHATWG HTML, 9.2), made of what is stored: one who comes back is told all he missed.

The id of an event is what its reader knows: which images have their result. So nothing is kept for those who are
away, and whatever happened meanwhile is the difference to what is stored now.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request, stream_with_context

from api.access.caller import own_job, while_key_is_valid
from api.http.answers import document_of
from api.http.errors import BusyError, InvalidRequestError
from api.http.waiting import WaitingRoom
from api.openapi.common_problems import OF_A_JOB
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from workers.errors import JobGoneError, JobNotFoundError, StoreUnavailableError
from workers.jobs.document import JobDocument
from workers.jobs.index_set import IndexSet
from workers.jobs.job import Job
from workers.store.job_store import JobStore

if TYPE_CHECKING:
    from workers.backend import Backend

HEARTBEAT_SECONDS = 5.0  # a reader that went away is noticed at the next but one
_LEAST_SECONDS = 0.25  # between two looks at a job
_RETRY_MS = 1000
_END = "end"


def event_routes(backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """The route /v1/jobs/{id}/events."""
    routes = Blueprint("events", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/events")
    @api.describe(
        Answer({"text/event-stream": None}),
        Answer(status=204, description="The reader was told the end already: it need not come back."),
        tag="jobs",
        problems=(*OF_A_JOB, BusyError),
    )
    def events(job_id: str) -> Response:
        """Follow a job by server-sent events, to its end.

        `job`: the job's document, at first and whenever it has changed. `items`: `{"finished": [[first, last], ...]}`,
        the indexes of images that newly have their result, in whatever order they are done. `deleted`: the job is
        gone. Lines that begin with a colon are heartbeats. A reader that comes back with `Last-Event-ID` gets the job
        as it is now and every image that was finished meanwhile.
        """
        known = _known(request.headers.get("Last-Event-ID", ""))
        job = own_job(backend, job_id)
        if known is None:
            return Response(status=204)
        if not room.enter():
            raise BusyError("As many callers wait as the server has places for: come back, or ask for the job instead.")
        stream = job_events(backend.store, job.id, lambda now: document_of(backend, now), known)
        response = Response(stream_with_context(while_key_is_valid(stream)), mimetype="text/event-stream")
        response.call_on_close(room.leave)  # also where the stream was never begun
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
        return response

    return routes


def job_events(
    store: JobStore, job_id: str, document: Callable[[Job], JobDocument], known: IndexSet, least: float = _LEAST_SECONDS
) -> Iterator[str]:
    """The events of a job, to one who knows that the images `known` are finished.

    Ends with the job; also where the store is down: the reader comes back by itself.
    """
    yield f"retry: {_RETRY_MS}\n\n"
    told = ""
    with store.following(job_id) as changed:
        while True:
            changed.clear()
            try:
                job = store.get(job_id)  # before its images: those of a job that is over are then all found
                found = store.finished(job_id, known.missing(job.total))
                text = document(job).to_json().strip()
            except (JobNotFoundError, JobGoneError):
                yield _event("deleted", json.dumps({"id": job_id}), _END)
                return
            except StoreUnavailableError:
                return
            known |= found
            if found.ranges:
                ranges = [[first, behind - 1] for first, behind in found.ranges]
                yield _event("items", json.dumps({"finished": ranges}, separators=(",", ":")), known.to_text())
            if text != told:
                yield _event("job", text, _END if job.state.terminal else known.to_text())
                told = text
            if job.state.terminal:
                return
            if changed.wait(HEARTBEAT_SECONDS):
                time.sleep(least)  # what changes meanwhile is told at once
            else:
                yield ": waiting\n\n"


def _event(name: str, data: str, event_id: str) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {data}\n\n"


def _known(last_event_id: str) -> IndexSet | None:
    """What a reader knows, by the id of the last event it got; None where that was the end."""
    if last_event_id == _END:
        return None
    try:
        return IndexSet.from_text(last_event_id) if last_event_id else IndexSet()
    except ValueError as error:
        raise InvalidRequestError("Last-Event-ID: give the id of an event of this job.") from error
