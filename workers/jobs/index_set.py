"""Sets of image indexes as sorted half-open ranges that do not touch, so that large sets stay small."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

Range = tuple[int, int]
_TEXT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")
_MOST_CHARS = 8000


@dataclass(frozen=True)
class IndexSet:
    """A set of indexes. `ranges` holds half-open (start, end) pairs in order, which do not touch."""

    ranges: tuple[Range, ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[Range]) -> Self:
        """Return the set of these ranges, which may overlap and come in any order; empty ranges are dropped."""
        merged: list[list[int]] = []
        for first, behind in sorted(ranges):
            if first >= behind:
                continue
            if merged and first <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], behind)
            else:
                merged.append([first, behind])
        return cls(tuple((first, behind) for first, behind in merged))

    def __len__(self) -> int:
        return sum(behind - first for first, behind in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(range(*one) for one in self.ranges)

    def __or__(self, other: Self) -> Self:
        return self.of(self.ranges + other.ranges)

    def missing(self, total: int) -> Self:
        """Return the indexes of [0, `total`) that are not in the set."""
        edges = [0, *(min(edge, total) for one in self.ranges for edge in one), total]
        return self.of(zip(edges[::2], edges[1::2], strict=True))

    def to_text(self, most: int = 400) -> str:
        """Encode the set as run lengths, alternately inside and outside the set: `3.1.2` is 0, 1, 2, 4, 5.

        At most `most` runs are written. The runs after them are dropped, so the text may stand for a subset.
        """
        edges = [0, *(edge for one in self.ranges for edge in one)]
        runs = [behind - first for first, behind in itertools.pairwise(edges)]
        runs = runs[1:] if runs and self.ranges[0][0] == 0 else [0, *runs]
        kept = runs[: most - (most + 1) % 2] if len(runs) > most else runs
        return ".".join(map(str, kept)) or "0"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Decode what `to_text` wrote. Raises ValueError if the text is anything else."""
        if len(text) > _MOST_CHARS or not _TEXT.fullmatch(text):
            raise ValueError(f"{text[:100]!r} is no set of indexes")
        edges = [0, *itertools.accumulate(map(int, text.split(".")))]
        return cls.of(zip(edges[::2], edges[1::2], strict=False))
