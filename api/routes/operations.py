"""The routes for operators: /healthz, /readyz and /metrics."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from pydantic import Field

from api.http.errors import NotReadyError
from api.http.problems import problem
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.jobs.document import Document
from workers.metrics_page import DownPage


class AliveDocument(Document):
    """The API process answers."""

    status: Literal["ok"] = "ok"


class ReadyDocument(AliveDocument):
    """Jobs can be processed."""

    checks: dict[str, str] = Field(description="Each part that jobs need: `ok`, or what is wrong with it.")


def health_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the routes /healthz and /readyz."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @api.describe(document_answer(AliveDocument), tag="health")
    def healthz() -> Response:
        """Tell whether this process of the API answers."""
        return Response(AliveDocument().to_json(), mimetype="application/json")

    @routes.get("/readyz")
    @api.describe(document_answer(ReadyDocument), tag="health", problems=(NotReadyError,))
    def readyz() -> Response:
        """Tell whether jobs can be processed: whether Redis, blob store, model and a worker are available."""
        checks = backend.health.checks()
        wrong = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
        if wrong:
            return problem(NotReadyError.code, "; ".join(wrong), retryable=True, checks=checks)
        return Response(ReadyDocument(checks=checks).to_json(), mimetype="application/json")

    return routes


def metrics_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the route /metrics."""
    routes = Blueprint("metrics", __name__)
    all_metrics, redis_down = _registry(backend.metrics), _registry(DownPage())

    @routes.get("/metrics")
    @api.describe(Answer({"text/plain": None}), tag="health", never=(StoreUnavailableError,))
    def metrics() -> Response:
        """Get the metrics of all processes together, for Prometheus.

        They come in its text format, or as OpenMetrics if `Accept` asks for that. A key needs the scope `metrics`.
        """
        return _page(all_metrics)

    @routes.errorhandler(StoreUnavailableError)
    def without_redis(_error: StoreUnavailableError) -> Response:
        """Show that Redis is down even though no key can be looked up, so that alerts know why."""
        return _page(redis_down)

    return routes


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def _page(registry: CollectorRegistry) -> Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)
