"""The input of a format's writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.results.labels import Labels

Result = Mapping[str, Any]


@dataclass(frozen=True)
class ResultSource:
    """Some of a job's results, in input order.

    `lines` yields the results as stored, one JSON object each. It may be called again: a format may need two passes,
    and the results are never all in memory. `next_url` is the address of the next results, None if these are the last.
    """

    job: str
    lines: Callable[[], Iterator[str]]
    labels: Labels
    next_url: str | None = None


Writer = Callable[[ResultSource], Iterator[str]]
