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
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from flask import Response, request
from pydantic import BaseModel

from api.openapi.common_problems import OF_EVERY_ADDRESS, OF_EVERY_BODY, OF_EVERY_ROUTE, Problems
from api.openapi.responses import Answer
from api.requests.checking import NoQuery, checked_body, checked_headers, checked_query
from api.requests.spool import UploadRequest
from workers.settings import Settings

Route = Callable[..., Response]
Model = type[BaseModel]


@dataclass(frozen=True)
class Operation:
    """What one route takes and answers with.

    `text` is the docstring of its function. `raw` are media types whose bodies the route reads itself. `never` are
    common problems that it does not raise.
    """

    id: str
    tag: str
    text: str
    answers: tuple[Answer, ...]
    problems: Problems
    query: Model
    headers: Model | None
    json: Model | None
    form: Model | None
    raw: tuple[str, ...]
    never: Problems


class Api:
    """The declared routes of an application, in `operations`."""

    def __init__(self, settings: Settings) -> None:
        self.operations: dict[Callable[..., Any], Operation] = {}  # by view function
        self._settings = settings

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
        """Return a decorator that declares a route, as the module's docstring and `Operation` explain.

        A `foreign` route implements another API's protocol: it validates its requests itself, and its own errors are
        not problems.
        """
        common = (*OF_EVERY_ROUTE, *(OF_EVERY_BODY if json or form or raw else ()))
        problems = OF_EVERY_ADDRESS if foreign else (*problems, *common)

        def decorate(route: Route) -> Route:
            name = f"{tag}_{route.__name__}"
            assert all(name != other.id for other in self.operations.values()), f"two routes are called {name}"
            text = inspect.getdoc(route) or ""
            operation = Operation(name, tag, text, answers, problems, query, headers, json, form, raw, never)
            view = route if foreign else self._checked(route, operation)
            self.operations[view] = operation
            return view

        return decorate

    def _checked(self, route: Route, operation: Operation) -> Route:
        """Return the route behind a validation of its requests."""

        @functools.wraps(route)
        def check(**path: str) -> Response:
            arguments: dict[str, BaseModel | None] = {}
            query = checked_query(operation.query, request.args)
            if operation.query is not NoQuery:
                arguments["query"] = query
            if operation.headers:
                arguments["headers"] = checked_headers(operation.headers, request.headers)
            if operation.json or operation.form or operation.raw:
                upload = cast("UploadRequest", request)
                arguments |= checked_body(
                    upload, self._settings, json=operation.json, form=operation.form, raw=operation.raw
                )
            return route(**path, **arguments)

        return check
