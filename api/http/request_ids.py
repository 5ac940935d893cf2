"""An id for every request: the caller's where it is sane, else a new one; in the answer and in every log line."""

from __future__ import annotations

import re
import secrets

import structlog
from flask import Flask, Response, g, request

from workers.jobs.job import Request
from workers.telemetry.masking import mask_keys

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def register_request_ids(app: Flask) -> None:
    """Give every request of an application an id."""
    app.before_request(_bind)
    app.after_request(_answer)


def request_id() -> str:
    """The id of the request being answered."""
    if "request_id" not in g:  # an error that comes before `before_request`
        g.request_id = sane_request_id(request.headers.get(HEADER, ""))
    return str(g.request_id)


def this_request() -> Request:
    """The request being answered, as its jobs remember it."""
    return Request(request_id(), g.span.traceparent if "span" in g else "")


def sane_request_id(offered: str) -> str:
    """The caller's id where it can stand in a log and a header, else a new one: a key must not."""
    sane = _SANE.fullmatch(offered) and mask_keys(offered) == offered
    return offered if sane else f"req_{secrets.token_hex(12)}"


def _bind() -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id())


def _answer(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    return response
