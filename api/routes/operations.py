"""Whether the API lives, and whether the whole chain behind it can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from pydantic import Field

from api.http.errors import NotReadyError
from api.http.problems import problem
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from workers.errors import StoreUnavailableError
from workers.jobs.document import Document
from workers.metrics_page import DownPage

if TYPE_CHECKING:
    from workers.backend import Backend


class AliveDocument(Document):
    """The API answers."""

    status: Literal["ok"] = "ok"


class ReadyDocument(AliveDocument):
    """Everything is there."""

    checks: dict[str, str] = Field(description="Each part of the chain: `ok`, or what is wrong with it.")


def health_routes(backend: Backend, api: Api) -> Blueprint:
    """The routes /healthz (this process answers) and /readyz (Redis, blob store, model and a worker are there)."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @api.describe(document_answer(AliveDocument), tag="health")
    def healthz() -> Response:
        """Tell whether the API lives."""
        return Response(AliveDocument().to_json(), mimetype="application/json")

    @routes.get("/readyz")
    @api.describe(document_answer(ReadyDocument), tag="health", problems=(NotReadyError,))
    def readyz() -> Response:
        """Tell whether jobs can be done: Redis, blob store, model and a worker are there."""
        checks = backend.health.checks()
        wrong = [f"{name}: {found}" for name, found in checks.items() if found != "ok"]
        if wrong:
            return problem(NotReadyError.code, "; ".join(wrong), retryable=True, checks=checks)
        return Response(ReadyDocument(checks=checks).to_json(), mimetype="application/json")

    return routes


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
