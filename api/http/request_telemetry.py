"""Count and trace requests. The spans of the jobs that a request creates are children of its span."""

from __future__ import annotations

import time
from http import HTTPStatus

from flask import Flask, Response, g, request

from api.http.request_ids import request_id
from workers.telemetry.metrics import REQUEST_SECONDS, REQUESTS
from workers.telemetry.spans import Tracer

MONITORING_ROUTES = {"health.healthz", "health.readyz", "metrics.metrics"}  # polled by machines


def register_telemetry(app: Flask, tracer: Tracer) -> None:
    """Make an application count its responses, measure the seconds until each one begins, and trace its requests.

    The caller's `traceparent` header gives the parent span.
    """

    def begin() -> None:
        g.began = time.perf_counter()
        if request.endpoint not in MONITORING_ROUTES:
            route = request.url_rule.rule if request.url_rule else "none"
            attributes = {"http.request.method": request.method, "http.route": route, "shelfline.request": request_id()}
            parent = request.headers.get("traceparent", "")
            g.span = tracer.start(f"{request.method} {route}", parent, "server", attributes=attributes)

    def end(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        if endpoint not in MONITORING_ROUTES:
            REQUESTS.add(endpoint, str(response.status_code))
            if "began" in g:  # absent if the request was refused before `begin` ran
                REQUEST_SECONDS.observe(time.perf_counter() - g.began, endpoint)
        if "span" in g:
            failed = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            why = HTTPStatus(response.status_code).phrase if failed else ""
            g.span.end(why, **{"http.response.status_code": response.status_code})
        return response

    app.before_request(begin)
    app.after_request(end)
