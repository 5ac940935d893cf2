"""The server-sent events of a job (WHATWG HTML, 9.2), computed from the stored job.

The id of an event encodes which finished images its reader knows. A reader that reconnects gets the difference to what
is stored now, so the server stores no events.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request, stream_with_context

from api.access.caller import own_job, while_key_is_valid
from api.http.answers import document_of
from api.http.errors import BusyError, InvalidRequestError
from api.http.waiting import WaitingRoom
from api.openapi.common_problems import OF_A_JOB
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from workers.backend import Backend
from workers.errors import JobGoneError, JobNotFoundError, StoreUnavailableError
from workers.jobs.document import JobDocument
from workers.jobs.index_set import IndexSet
from workers.jobs.job import Job
from workers.store.job_store import JobStore

HEARTBEAT_SECONDS = 5.0  # a reader that has gone is noticed at the second heartbeat
_PAUSE_SECONDS = 0.25  # at least, between two reads of a job
_RETRY_MS = 1000
_END = "end"


def event_routes(backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """Return the route /v1/jobs/{id}/events. Its readers take places in `room`."""
    routes = Blueprint("events", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/events")
    @api.describe(
        Answer({"text/event-stream": None}),
        Answer(status=204, description="The reader already has the last event, and need not connect again."),
        tag="jobs",
        problems=(*OF_A_JOB, BusyError),
    )
    def events(job_id: str) -> Response:
        """Follow a job to its end by server-sent events.

        `job` has the job's document; it comes first and after every change. `items` has
        `{"finished": [[first, last], ...]}`, the indexes of newly finished images, in the order in which they finish.
        `deleted` says that the job was deleted. Lines that begin with a colon are heartbeats. A reader that connects
        again with `Last-Event-ID` gets the job as it is now, and every image that was finished meanwhile.
        """
        known = _known_images(request.headers.get("Last-Event-ID", ""))
        job = own_job(backend, job_id)
        if known is None:
            return Response(status=204)
        if not room.enter():
            raise BusyError("Too many callers are waiting: connect again later, or poll the job.")
        stream = job_events(backend.store, job.id, lambda now: document_of(backend, now), known)
        response = Response(stream_with_context(while_key_is_valid(stream)), mimetype="text/event-stream")
        response.call_on_close(room.leave)  # also if the stream was never started
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer the events
        return response

    return routes


def job_events(
    store: JobStore, job_id: str, document: Callable[[Job], JobDocument], known: IndexSet, pause: float = _PAUSE_SECONDS
) -> Iterator[str]:
    """Yield the events of a job for a reader that knows that the images `known` are finished.

    The stream ends with the job, or if the store is down: then the reader connects again by itself.
    """
    yield f"retry: {_RETRY_MS}\n\n"
    last_sent = ""
    with store.following(job_id) as changed:
        while True:
            changed.clear()
            try:
                job = store.get(job_id)  # before its images, so that all images of a terminal job are found
                finished = store.finished(job_id, known.missing(job.total))
                text = document(job).to_json().strip()
            except (JobNotFoundError, JobGoneError):
                yield _event("deleted", json.dumps({"id": job_id}), _END)
                return
            except StoreUnavailableError:
                return
            known |= finished
            if finished.ranges:
                ranges = [[start, end - 1] for start, end in finished.ranges]
                yield _event("items", json.dumps({"finished": ranges}, separators=(",", ":")), known.to_text())
            if text != last_sent:
                yield _event("job", text, _END if job.state.terminal else known.to_text())
                last_sent = text
            if job.state.terminal:
                return
            if changed.wait(HEARTBEAT_SECONDS):
                time.sleep(pause)  # changes during the pause are sent in one event
            else:
                yield ": waiting\n\n"


def _event(name: str, data: str, event_id: str) -> str:
    return f"id: {event_id}\nevent: {name}\ndata: {data}\n\n"


def _known_images(last_event_id: str) -> IndexSet | None:
    """Return the finished images that a reader knows, from the id of its last event; None if that was the end."""
    if last_event_id == _END:
        return None
    try:
        return IndexSet.from_text(last_event_id) if last_event_id else IndexSet()
    except ValueError as error:
        raise InvalidRequestError("Last-Event-ID: give the id of an event of this job, or leave it out.") from error
