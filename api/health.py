"""Whether the API lives, and whether the whole chain behind it can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify

from api.problems import problem

if TYPE_CHECKING:
    from workers.backend import Backend


def health_routes(backend: Backend) -> Blueprint:
    """The routes /healthz (this process answers) and /readyz (Redis, blob store, model and a worker are there)."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @routes.get("/readyz")
    def readyz() -> Response:
        checks = backend.health.checks()
        wrong = [f"{name}: {found}" for name, found in checks.items() if found != "ok"]
        if wrong:
            return problem("not_ready", "; ".join(wrong), retryable=True, checks=checks)
        return jsonify(status="ok", checks=checks)

    return routes
