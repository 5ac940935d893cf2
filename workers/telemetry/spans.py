"""Spans that are not recorded: the tracer that is used if tracing is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Unpack

Kind = Literal["server", "client", "internal"]

Value = str | int | float


class SpanOptions(TypedDict, total=False):
    """When a span began, in seconds since the epoch; the traceparents of spans to link to; attributes."""

    began: float
    links: Sequence[str]
    attributes: Mapping[str, Value]


class Span:
    """A span that is not recorded. `traceparent` is "" if the work that follows is not to be traced."""

    traceparent = ""

    def end(self, error: str = "", **attributes: Value) -> None:
        """End the span. `error` says what went wrong, '' if nothing did."""


class Tracer:
    """Starts spans that are not recorded."""

    def start(self, name: str, parent: str, kind: Kind = "internal", **options: Unpack[SpanOptions]) -> Span:
        """Start a span below `parent`, a traceparent, '' for a new trace. It begins now if `began` is not given."""
        del name, parent, kind, options
        return Span()

    def close(self) -> None:
        """Send the remaining spans."""
