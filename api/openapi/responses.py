"""Declare the responses of a route (success, headers, problems) for the OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.http.problems import PROBLEM_TYPE, STATUS_BY_CODE, ProblemDocument
from serving.errors import ShelflineError

HEADERS: Mapping[str, str] = {
    "Content-Disposition": "A name for the file.",
    "ETag": "The version of the body. A request that names it in `If-None-Match` gets a 304 if nothing has changed.",
    "Link": 'The URL of the next results, with `rel="next"`.',
    "Location": "The URL of the new resource.",
    "Retry-After": "How many seconds to wait before the next request.",
    "RateLimit": "For each rate limit of the key: the requests left (`r`), and the seconds until there are more (`t`).",
    "RateLimit-Policy": "The rate limits of the key: requests (`q`) per seconds (`w`).",
    "WWW-Authenticate": "How to authenticate (RFC 6750).",
    "Preference-Applied": "The part of `Prefer` that was granted.",
    "X-Request-ID": "The id of the request: the caller's own if it sent one, else a new one.",
}

_FAILURE_HEADERS: Mapping[int, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}


@dataclass(frozen=True)
class Answer:
    """A successful response of a route.

    `content` gives the model of each media type, None if the body is not a JSON document (lines, pictures, events).
    `headers` are keys of `HEADERS`. With an `ETag` among them the route may also answer 304.
    """

    content: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    status: int = 200
    headers: tuple[str, ...] = ()
    description: str = ""


def document_answer(model: type[BaseModel], status: int = 200, *, headers: tuple[str, ...] = ()) -> Answer:
    """Return a successful response whose body is a JSON document."""
    return Answer({"application/json": model}, status, headers)


def responses(answers: Iterable[Answer], problems: Iterable[type[ShelflineError]]) -> dict[str, Any]:
    """Return the `responses` of an OpenAPI operation: the problems by status, then by code."""
    described = {}
    for answer in answers:
        described[str(answer.status)] = _success(answer)
        if "ETag" in answer.headers:
            described["304"] = _success(Answer(status=HTTPStatus.NOT_MODIFIED))
    by_status: dict[int, list[type[ShelflineError]]] = {}
    for problem in sorted(set(problems), key=lambda kind: kind.code):
        by_status.setdefault(STATUS_BY_CODE[problem.code], []).append(problem)
    return described | {str(status): _failure(status, by_status[status]) for status in sorted(by_status)}


def problem_list(problems: Iterable[type[ShelflineError]]) -> str:
    """Return a Markdown list of problems, with their statuses and meanings."""
    return "\n".join(
        f"- `{problem.code}` ({STATUS_BY_CODE[problem.code]}): {_meaning(problem)}" for problem in problems
    )


def public_name(model: type[BaseModel]) -> str:
    """Return the name of a model's schema in the document."""
    return model.__name__.removesuffix("Document")


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return a schema that refers to the schema of a model."""
    return {"$ref": f"#/components/schemas/{public_name(model)}"}


def _success(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description or HTTPStatus(answer.status).phrase}
    described["headers"] = _headers(*answer.headers, "X-Request-ID")
    if answer.content:
        described["content"] = {
            media_type: {"schema": reference(model)} if model else {} for media_type, model in answer.content.items()
        }
    return described


def _failure(status: int, problems: list[type[ShelflineError]]) -> dict[str, Any]:
    codes = {"properties": {"code": {"enum": [problem.code for problem in problems]}}}
    return {
        "description": "\n".join(f"- `{problem.code}`: {_meaning(problem)}" for problem in problems),
        "headers": _headers(*_FAILURE_HEADERS.get(status, ()), "X-Request-ID"),
        "content": {PROBLEM_TYPE: {"schema": {"allOf": [reference(ProblemDocument), codes]}}},
    }


def _meaning(problem: type[ShelflineError]) -> str:
    """Return when an error is raised, taken from its docstring."""
    first = (inspect.getdoc(problem) or "").split("\n\n")[0].replace("\n", " ")
    return first.removeprefix("Raised ")


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names}
