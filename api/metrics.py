"""Figures for Prometheus: is it keeping up, and where does the time go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.answers import Answer
from api.openapi import Api
from workers.errors import StoreUnavailableError
from workers.metrics_page import DownPage
from workers.telemetry.metrics import REQUEST_SECONDS, REQUESTS

if TYPE_CHECKING:
    from workers.backend import Backend

NOBODYS_WORK = {"health.healthz", "health.readyz", "metrics.metrics"}  # asked for by machines, all the time


def metrics_routes(backend: Backend, api: Api) -> Blueprint:
    """The route /metrics."""
    routes = Blueprint("metrics", __name__)
    everything, down = _registry(backend.metrics), _registry(DownPage())

    @routes.get("/metrics")
    @api.describe(Answer({"text/plain": None}), tag="health", never=(StoreUnavailableError,))
    def metrics() -> Response:
        """Figures for Prometheus, of all processes together.

        In its text format, or in OpenMetrics where `Accept` asks for that. A key needs the scope `metrics`.
        """
        return _page(everything)

    @routes.errorhandler(StoreUnavailableError)
    def redis_is_down(_error: StoreUnavailableError) -> Response:
        """Where keys cannot be looked up, an alert still hears why; /readyz says as much to everyone."""
        return _page(down)

    return routes


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def _page(registry: CollectorRegistry) -> Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


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
