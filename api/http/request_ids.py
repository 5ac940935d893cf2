"""Request ids: every response and every log line has one. A valid id of the caller is used, else a new one."""

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
    """Make an application give every request an id."""
    app.before_request(_bind)
    app.after_request(_answer)


def request_id() -> str:
    """Return the id of the current request."""
    if "request_id" not in g:  # after an error that came before `before_request`
        g.request_id = sane_request_id(request.headers.get(HEADER, ""))
    return str(g.request_id)


def this_request() -> Request:
    """Return the id and trace parent of the current request, which its jobs store."""
    return Request(request_id(), g.span.traceparent if "span" in g else "")


def sane_request_id(offered: str) -> str:
    """Return the caller's id if it is safe in logs and headers, else a new id.

    An id that contains an API key is not used, because keys must not get into logs.
    """
    sane = _SANE.fullmatch(offered) and mask_keys(offered) == offered
    return offered if sane else f"req_{secrets.token_hex(12)}"


def _bind() -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id())


def _answer(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    return response
