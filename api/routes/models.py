"""The routes of models: their versions, their states and their labels."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response
from pydantic import Field

from api.http.errors import ModelNotFoundError
from api.openapi.declaration import Api
from api.openapi.responses import document_answer
from serving.contract import Contract
from workers.backend import Backend
from workers.jobs.document import Document
from workers.settings import Settings


class VersionDocument(Document):
    """A version of a model on the model server."""

    version: int
    state: str = Field(description="START, LOADING, AVAILABLE, UNLOADING or END.")
    error: str


class ModelDocument(Document):
    """A model as workers last found it. `contract` is that of the version that answers now."""

    id: str
    object: Literal["model"] = "model"
    default: bool = Field(description="Whether jobs without a `model` use it.")
    state: Literal["available", "unavailable"]
    error: str | None
    version: int | None
    versions: list[VersionDocument] = Field(description="All versions that the model server reports, newest first.")
    contract: Contract | None


class ModelsDocument(Document):
    """The models that jobs may ask for, the default one first."""

    object: Literal["list"] = "list"
    data: list[ModelDocument]


def model_routes(settings: Settings, backend: Backend, api: Api) -> Blueprint:
    """Return the routes below /v1/models. They show what workers last found, at most a minute ago."""
    routes = Blueprint("models", __name__, url_prefix="/v1/models")

    def document(model: str) -> ModelDocument:
        published = backend.catalog.state(model)
        return ModelDocument(
            id=model,
            default=model == settings.model,
            state="available" if published.available else "unavailable",
            error=published.error or None,
            version=published.version,
            versions=published.versions,
            contract=Contract.from_json(published.contract) if published.contract else None,
        )

    @routes.get("")
    @api.describe(document_answer(ModelsDocument), tag="models")
    def listed() -> Response:
        """List the models that jobs may ask for."""
        return _json(ModelsDocument(data=[document(model) for model in settings.served_models]))

    @routes.get("/<model>")
    @api.describe(document_answer(ModelDocument), tag="models", problems=(ModelNotFoundError,))
    def show(model: str) -> Response:
        """Show a model: its state, its versions, its labels."""
        if model not in settings.served_models:
            raise ModelNotFoundError(f"There is no model {model!r}: see /v1/models.")
        return _json(document(model))

    return routes


def _json(document: Document) -> Response:
    return Response(document.to_json(), mimetype="application/json")
