"""JSON lines: a result a line, as it is stored."""

from __future__ import annotations

from collections.abc import Iterator

from workers.formats.source import ResultSource


def write_jsonl(source: ResultSource) -> Iterator[str]:
    """The results, each with its end of line."""
    for line in source.lines():
        yield line
        yield "\n"
