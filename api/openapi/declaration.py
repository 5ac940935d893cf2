"""Declare routes: one declaration validates the requests and documents requests and responses.

    @routes.get("/<job_id>")
    @api.describe(document_answer(JobDocument), tag="jobs", query=ShowQuery, problems=OF_A_JOB)
    def show(job_id: str, query: ShowQuery) -> Response:
        \"\"\"A job as it stands.

        With `wait`, the answer comes when the job ends.
        \"\"\"

The models of `query`, `headers`, `json` and `form` validate the request before the function runs. The function gets
the validated models as arguments with these names; `json` or `form` is None if the other one was sent. The first
paragraph of the docstring becomes the summary, the rest the description. The docstrings of the models and the
descriptions of their fields are in the document too. `problems` are the errors that the route itself may raise; the
errors that every route may raise are added. `make openapi` writes the document to docs/openapi.json.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import metadata
from typing import Any, cast

from flask import Flask, Response, request
from pydantic import BaseModel
from spectree import SecurityScheme, SpecTree, Tag
from spectree.model_adapter.protocol import SchemaMode
from spectree.model_adapter.pydantic_adapter import PydanticModelAdapter
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin

from api.access.scopes import scope_of
from api.openapi.common_problems import ABOUT, OF_EVERY_ADDRESS, OF_EVERY_BODY, OF_EVERY_KEY, OF_EVERY_ROUTE, Problems
from api.openapi.finishing import finished_document
from api.openapi.responses import Answer, Answers
from api.requests.checking import NoQuery, checked_body, checked_headers, checked_query
from api.requests.spool import UploadRequest
from workers.settings import Settings
from workers.store.api_keys import Scope

Route = Callable[..., Response]
Model = type[BaseModel]

_PARAMETER = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>")
_SCHEME = SecurityScheme(
    name="key",
    data=SecuritySchemeData(
        type=SecureType.HTTP,
        scheme="bearer",
        bearer_format="sl_ and 32 hexadecimal digits",
        description="An API key, made by `shelfline keys create`. Each operation names the scope that the key needs; "
        "`admin` includes the others. A server where no key was ever made asks for none, and answers its own machine "
        "only.",
    ),
)


class Api(SpecTree):
    """The declared routes of an application, with their requests and responses."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            backend=_Plugin,
            model_adapter=_ADAPTER,
            naming_strategy=_name,
            nested_naming_strategy=lambda _parent, child: _public(child),
            mode="strict",
            annotations=False,
            title="Shelfline",
            version=metadata.version("shelfline"),
            description=ABOUT,
            security_schemes=[_SCHEME],
        )
        self.settings = settings
        self._raw_bodies: dict[str, tuple[str, ...]] = {}
        self._answers: dict[Route, Answers] = {}

    def describe(
        self,
        *answers: Answer,
        tag: str,
        problems: Problems = (),
        query: Model = NoQuery,
        headers: Model | None = None,
        json: Model | None = None,
        form: Model | None = None,
        raw: tuple[str, ...] = (),
        foreign: bool = False,
        never: Problems = (),
    ) -> Callable[[Route], Route]:
        """Return a decorator that declares a route; the module's docstring shows an example.

        `raw` are media types whose bodies the route reads itself. A `foreign` route implements another API's
        protocol: it validates its requests itself, and its own errors are not problems. `never` are common problems
        that this route does not raise.
        """

        def decorate(route: Route) -> Route:
            operation = f"{tag}_{route.__name__}"
            assert operation not in self._raw_bodies, f"two routes are called {operation}"
            self._raw_bodies[operation] = raw
            shared = (*OF_EVERY_ROUTE, *(OF_EVERY_BODY if json or form or raw else ()))
            answered = Answers(answers, OF_EVERY_ADDRESS if foreign else (*problems, *shared), never)
            declared: Route = self.validate(
                query=query,
                headers=headers,
                json=json,
                form=form,
                resp=answered,
                tags=[Tag(name=tag)],
                operation_id=operation,
            )(route if foreign else _checked(route, self.settings, query, headers, json, form, raw))
            self._answers[declared] = answered
            return declared

        return decorate

    def document(self, app: Flask) -> dict[str, Any]:
        """Return the OpenAPI document of an application."""
        keyed: dict[tuple[str, str], Scope] = {}
        for rule in app.url_map.iter_rules():
            route = app.view_functions[rule.endpoint]
            if route in self._answers and (scope := scope_of(rule.endpoint)):
                self._answers[route].expect(OF_EVERY_KEY)
                keyed |= dict.fromkeys(((_PARAMETER.sub(r"{\1}", rule.rule), one) for one in rule.methods or ()), scope)
        with app.app_context():
            found = dict(self.spec)
        for path, operations in found["paths"].items():
            for method, operation in operations.items():
                scope = keyed.get((path, method.upper()))
                operation["security"] = [{_SCHEME.name: [scope.value]}] if scope else []
        return finished_document(found, self._raw_bodies)


class _Adapter(PydanticModelAdapter):
    """Generates the schema of each model once per process, and shares it between applications."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[tuple[type[Any], SchemaMode], dict[str, Any]] = {}

    def json_schema(self, model: type[Any], *, ref_template: str, mode: SchemaMode = "validation") -> dict[str, Any]:
        """Return the schema of a model. Sharing is safe, because spectree copies a schema before it changes it."""
        if (model, mode) not in self._made:
            self._made[model, mode] = super().json_schema(model, ref_template=ref_template, mode=mode)
        return self._made[model, mode]


_ADAPTER: Any = _Adapter()  # Any, because even spectree's own adapter does not match its protocol


class _Plugin(FlaskPlugin):
    """Turns off spectree's validation, which would load every response into memory, even streams.

    Spectree only generates the document.
    """

    def validate(self, func: Route, *_declared: Any, **path: Any) -> Response:  # noqa: ANN401  spectree's signature
        """Call the route, which validates the request itself (`_checked`)."""
        return func(**path)


def _checked(
    route: Route,
    settings: Settings,
    query: Model,
    headers: Model | None,
    json: Model | None,
    form: Model | None,
    raw: tuple[str, ...],
) -> Route:
    @functools.wraps(route)
    def check(**path: str) -> Response:
        given: dict[str, BaseModel | None] = {}
        asked = checked_query(query, request.args)
        if query is not NoQuery:
            given["query"] = asked
        if headers:
            given["headers"] = checked_headers(headers, request.headers)
        if json or form or raw:
            given |= checked_body(cast("UploadRequest", request), settings, json=json, form=form, raw=raw)
        return route(**path, **given)

    return check


def _name(model: Any) -> str:  # noqa: ANN401  spectree's naming strategy takes what it can describe
    return _public(model.__name__)


def _public(class_name: str) -> str:
    return class_name.removesuffix("Document")
