"""Sets of image indexes as sorted half-open ranges that do not touch, so that large sets stay small."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

Range = tuple[int, int]
_TEXT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")
_MAX_CHARS = 8000


@dataclass(frozen=True)
class IndexSet:
    """A set of indexes. `ranges` holds half-open (start, end) pairs in order, which do not touch."""

    ranges: tuple[Range, ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[Range]) -> Self:
        """Return the set of these ranges, which may overlap and come in any order; empty ranges are dropped."""
        merged: list[list[int]] = []
        for start, end in sorted(ranges):
            if start >= end:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        return cls(tuple((start, end) for start, end in merged))

    def __len__(self) -> int:
        return sum(end - start for start, end in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(range(*edges) for edges in self.ranges)

    def __or__(self, other: Self) -> Self:
        return self.of(self.ranges + other.ranges)

    def missing(self, total: int) -> Self:
        """Return the indexes of [0, `total`) that are not in the set."""
        edges = [0, *(min(edge, total) for pair in self.ranges for edge in pair), total]
        return self.of(zip(edges[::2], edges[1::2], strict=True))

    def to_text(self, max_runs: int = 400) -> str:
        """Encode the set as run lengths, alternately inside and outside the set: `3.1.2` is 0, 1, 2, 4, 5.

        At most `max_runs` runs are written. The runs after them are dropped, so the text may stand for a subset.
        """
        edges = [0, *(edge for pair in self.ranges for edge in pair)]
        runs = [end - start for start, end in itertools.pairwise(edges)]
        runs = runs[1:] if runs and self.ranges[0][0] == 0 else [0, *runs]
        if len(runs) > max_runs:
            runs = runs[: max_runs - (max_runs + 1) % 2]  # an odd number: the last run is outside the set
        return ".".join(map(str, runs)) or "0"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Decode what `to_text` wrote. Raises ValueError if the text is anything else."""
        if len(text) > _MAX_CHARS or not _TEXT.fullmatch(text):
            raise ValueError(f"{text[:100]!r} is not a set of indexes")
        edges = [0, *itertools.accumulate(map(int, text.split(".")))]
        return cls.of(zip(edges[::2], edges[1::2], strict=False))
