"""Spans that are not recorded: what a tracer offers where tracing is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Kind = Literal["server", "client", "internal"]

Value = str | int | float


class Span:
    """A span that is not recorded. `traceparent` is "" where what follows from it is not to be traced."""

    traceparent = ""

    def end(self, error: str = "", **attributes: Value) -> None:
        """The work is done; `error` says what went wrong."""


class Tracer:
    """Starts spans that are not recorded."""

    def start(
        self,
        name: str,
        parent: str,
        kind: Kind = "internal",
        *,
        began: float | None = None,
        links: Sequence[str] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        """A span that begins now, or began then (seconds since the epoch), below the parent of that traceparent."""
        del name, parent, kind, began, links, attributes
        return Span()

    def close(self) -> None:
        """Send what is left."""
