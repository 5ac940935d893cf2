"""What a writer of a format is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.results.labels import Labels

Result = Mapping[str, Any]


@dataclass(frozen=True)
class ResultSource:
    """Some of a job's results, in input order.

    `lines` gives them as they are stored, a JSON object each, and may be called again: a format may need two passes,
    and nothing holds them all. `next_url` is where the next ones are, None where these are the last.
    """

    job: str
    lines: Callable[[], Iterator[str]]
    labels: Labels
    next_url: str | None = None


Writer = Callable[[ResultSource], Iterator[str]]
