"""The routes of models: what is served, in which versions, and what it finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from api.errors import ModelNotFoundError
from serving.contract import Contract
from workers.catalog import Published
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.backend import Backend


def model_routes(settings: Settings, backend: Backend) -> Blueprint:
    """The routes below /v1/models. What they tell is what workers last found, at most a minute ago."""
    routes = Blueprint("models", __name__, url_prefix="/v1/models")

    def document(model: str) -> dict[str, Any]:
        return model_document(model, backend.catalog.look_up(model), default=model == settings.model)

    @routes.get("")
    def listed() -> Response:
        return _json({"object": "list", "data": [document(model) for model in settings.served_models]})

    @routes.get("/<model>")
    def show(model: str) -> Response:
        if model not in settings.served_models:
            raise ModelNotFoundError(f"There is no model {model!r} here: see /v1/models.")
        return _json(document(model))

    return routes


def model_document(model: str, published: Published | None, *, default: bool) -> dict[str, Any]:
    """A model as the API shows it; `contract` is that of the version that answers now."""
    found = published or Published(model, "No worker has looked for the model lately.")
    return {
        "id": model,
        "object": "model",
        "default": default,
        "state": "available" if found.available else "unavailable",
        "error": found.error or None,
        "version": found.version,
        "versions": [{"version": one.version, "state": one.state, "error": one.error} for one in found.versions],
        "contract": Contract.from_json(found.contract).model_dump(mode="json") if found.contract else None,
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False) + "\n", mimetype="application/json")
