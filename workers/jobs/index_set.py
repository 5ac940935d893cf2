"""Sets of image indexes, small however many they hold: sorted half-open ranges that do not touch."""

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
class Indexes:
    """The indexes of `ranges`, (first, behind the last) each, in order."""

    ranges: tuple[Range, ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[Range]) -> Self:
        """A set of any ranges, in any order; empty ones are left out."""
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
        """The indexes from 0 up to `total`, itself not counted, that are not in the set."""
        edges = [0, *(min(edge, total) for one in self.ranges for edge in one), total]
        return self.of(zip(edges[::2], edges[1::2], strict=True))

    def to_text(self, most: int = 400) -> str:
        """The set as the lengths of its runs, those in it and those between in turn: `3.1.2` is 0, 1, 2, 4, 5.

        Of more than `most` runs the last are left out: what is read back is never more than the set.
        """
        edges = [0, *(edge for one in self.ranges for edge in one)]
        runs = [behind - first for first, behind in itertools.pairwise(edges)]
        runs = runs[1:] if runs and self.ranges[0][0] == 0 else [0, *runs]
        kept = runs[: most - (most + 1) % 2] if len(runs) > most else runs
        return ".".join(map(str, kept)) or "0"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote; raises ValueError for anything else."""
        if len(text) > _MOST_CHARS or not _TEXT.fullmatch(text):
            raise ValueError(f"{text[:100]!r} is no set of indexes")
        edges = [0, *itertools.accumulate(map(int, text.split(".")))]
        return cls.of(zip(edges[::2], edges[1::2], strict=False))
