"""A span for each request that is anybody's work; the jobs that it makes are below it."""

from __future__ import annotations

import time
from http import HTTPStatus

from flask import Flask, Response, g, request

from api.http.request_ids import request_id
from workers.telemetry.metrics import REQUEST_SECONDS, REQUESTS
from workers.telemetry.spans import Tracer

NOBODYS_WORK = {"health.healthz", "health.readyz", "metrics.metrics"}  # asked for by machines, all the time


def register_counting(app: Flask) -> None:
    """Count the answers of an application, and how long they took to begin."""
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    route = request.endpoint or "none"
    if route not in NOBODYS_WORK:
        REQUESTS.add(route, str(response.status_code))
        if "began" in g:  # not where the request was refused before
            REQUEST_SECONDS.observe(time.perf_counter() - g.began, route)
    return response


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
