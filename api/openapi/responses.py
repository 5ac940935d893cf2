"""Declare the responses of a route (success, headers, problems) for the OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from spectree import Response as SpecResponse

from api.http.problems import PROBLEM_TYPE, STATUS_BY_CODE, ProblemDocument
from serving.errors import ShelflineError

HEADERS: Mapping[str, str] = {
    "Content-Disposition": "A name for the file.",
    "ETag": "What `If-None-Match` may name, for an answer without a body where nothing has changed.",
    "Link": 'With `rel="next"`: where the next results are.',
    "Location": "The address of what was made.",
    "Retry-After": "In how many seconds to ask again.",
    "RateLimit": "Of each rate of the key: how many requests are left (`r`), and in how many seconds more are (`t`).",
    "RateLimit-Policy": "The rates of the key: so many requests (`q`) in so many seconds (`w`).",
    "WWW-Authenticate": "How to say who calls (RFC 6750).",
    "Preference-Applied": "What was granted of `Prefer`.",
    "X-Request-ID": "The request's id: the caller's own if it sent one, else a new one.",
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
    `headers` are keys of `HEADERS`.
    """

    content: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    status: int = 200
    headers: tuple[str, ...] = ()
    description: str = ""


def document_answer(model: type[BaseModel], status: int = 200, *, headers: tuple[str, ...] = ()) -> Answer:
    """Return a successful response whose body is a JSON document."""
    return Answer({"application/json": model}, status, headers)


class Answers(SpecResponse):
    """All responses of a route, in the form that spectree expects."""

    def __init__(
        self,
        answers: Iterable[Answer],
        problems: Iterable[type[ShelflineError]],
        never: Iterable[type[ShelflineError]] = (),
    ) -> None:
        super().__init__()
        self.answers = tuple(answers)
        self.problems = tuple(dict.fromkeys(problems))
        self._never = frozenset(never)

    def expect(self, problems: Iterable[type[ShelflineError]]) -> None:
        """Add problems that the route may answer with, except those in `never`."""
        more = (one for one in problems if one not in self._never)
        self.problems = tuple(dict.fromkeys((*self.problems, *more)))

    @property
    def models(self) -> list[Any]:
        """The models whose schemas the document needs."""
        return [model for one in self.answers for model in one.content.values() if model] + [ProblemDocument]

    def add_model(self, *_unused: object, **_more: object) -> None:
        """Do nothing: spectree would add its own validation response, but this API answers with problems."""

    def generate_spec(self, naming_strategy: Any = None) -> dict[str, Any]:  # noqa: ANN401  spectree's signature
        """Return the `responses` of an OpenAPI operation."""
        found = {str(one.status): _success(one, naming_strategy) for one in self.answers}
        by_status: dict[int, list[type[ShelflineError]]] = {}
        for problem in self.problems:
            by_status.setdefault(STATUS_BY_CODE[problem.code], []).append(problem)
        for status, problems in sorted(by_status.items()):
            found[str(status)] = failure(problems)
        return found


def _success(answer: Answer, name: Any) -> dict[str, Any]:  # noqa: ANN401  spectree's naming strategy
    described: dict[str, Any] = {"description": answer.description or HTTPStatus(answer.status).phrase}
    described["headers"] = _headers(*answer.headers, "X-Request-ID")
    if answer.content:
        described["content"] = {
            media_type: {"schema": _reference(name(model))} if model else {}
            for media_type, model in answer.content.items()
        }
    return described


def failure(problems: list[type[ShelflineError]]) -> dict[str, Any]:
    """Return the entry of `responses` for problems that have the same status."""
    codes = {"properties": {"code": {"enum": [one.code for one in problems]}}}
    status = STATUS_BY_CODE[problems[0].code]
    return {
        "description": "\n".join(f"- `{one.code}`: {meaning(one)}" for one in problems),
        "headers": _headers(*_FAILURE_HEADERS.get(status, ()), "X-Request-ID"),
        "content": {PROBLEM_TYPE: {"schema": {"allOf": [_reference("Problem"), codes]}}},
    }


def problem_list(problems: Iterable[type[ShelflineError]]) -> str:
    """Return a Markdown list of problems, with their statuses and meanings."""
    return "\n".join(f"- `{one.code}` ({STATUS_BY_CODE[one.code]}): {meaning(one)}" for one in problems)


def meaning(problem: type[ShelflineError]) -> str:
    """Return when an error is raised, taken from its docstring."""
    first = (inspect.getdoc(problem) or "").split("\n\n")[0].replace("\n", " ")
    return first.removeprefix("Raised ")


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names}
