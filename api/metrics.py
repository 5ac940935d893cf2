"""Figures for Prometheus: is it keeping up, and where does the time go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from api.answers import Answer
from api.openapi import Api
from workers.metrics.counted import REQUEST_SECONDS, REQUESTS

if TYPE_CHECKING:
    from workers.backend import Backend

NOBODYS_WORK = {"health.healthz", "health.readyz", "metrics.metrics"}  # asked for by machines, all the time


def metrics_routes(backend: Backend, api: Api) -> Blueprint:
    """The route /metrics."""
    routes = Blueprint("metrics", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(backend.metrics)

    @routes.get("/metrics")
    @api.describe(Answer({"text/plain": None}), tag="health")
    def metrics() -> Response:
        """Figures for Prometheus, of all processes together.

        In its text format, or in OpenMetrics where `Accept` asks for that. A key needs the scope `metrics`.
        """
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    return routes


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
