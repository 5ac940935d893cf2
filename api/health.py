"""Whether the API lives, and whether the whole chain behind it can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flask import Blueprint, Response
from pydantic import Field

from api.answers import document_answer
from api.errors import NotReadyError
from api.openapi import Api
from api.problems import problem
from workers.jobs.document import Document

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
