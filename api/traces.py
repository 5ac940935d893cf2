"""A span for each request that is anybody's work; the jobs that it makes are below it."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, g, request

from api.metrics import NOBODYS_WORK
from api.request_ids import request_id
from workers.telemetry.spans import Tracer


def register_tracing(app: Flask, tracer: Tracer) -> None:
    """Trace an application's requests; a caller's own `traceparent` is the parent."""

    def begin() -> None:
        if request.endpoint not in NOBODYS_WORK:
            route = request.url_rule.rule if request.url_rule else "none"
            attributes = {"http.request.method": request.method, "http.route": route, "shelfline.request": request_id()}
            parent = request.headers.get("traceparent", "")
            g.span = tracer.start(f"{request.method} {route}", parent, "server", attributes=attributes)

    def end(response: Response) -> Response:
        if "span" in g:
            failed = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            why = HTTPStatus(response.status_code).phrase if failed else ""
            g.span.end(why, **{"http.response.status_code": response.status_code})
        return response

    app.before_request(begin)
    app.after_request(end)
