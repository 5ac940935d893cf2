"""What the labels in results mean: category ids, category paths, thresholds, from the contracts that made them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from serving.contract import Contract, Label

_NAMELESS = 1 << 24  # ids of labels that no contract has begin here


@dataclass(frozen=True)
class Labels:
    """The labels of a job's results.

    `contracts` are those of the versions that made them, newest first; `min_score` is what the caller asked for.
    """

    contracts: Sequence[Contract] = ()
    min_score: float | None = None

    @cached_property
    def by_name(self) -> dict[str, Label]:
        """The labels by name. Where versions differ the newest is right; no two have the same id."""
        found: dict[str, Label] = {}
        taken: set[int] = set()
        for contract in self.contracts:
            for label in contract.labels:
                if label.name in found:
                    continue
                number = _free(label.id if label.id not in taken else _number(label.name), taken)
                taken.add(number)
                found[label.name] = label.model_copy(update={"id": number})
        return found

    @cached_property
    def score_threshold(self) -> float:
        """Below which score no detection is told."""
        return max(self.min_score or 0.0, min((one.score_threshold for one in self.contracts), default=0.0))

    def root(self, name: str) -> str:
        """The category path of a label, empty where it has none."""
        label = self.by_name.get(name)
        return label.root if label else ""

    def category(self, name: str) -> int:
        """The category id of a label: the model's own, or where no contract has it one made of its name."""
        label = self.by_name.get(name)
        return label.id if label else _number(name)


def _number(name: str) -> int:
    """The same number for the same name, whatever else there is; of 5000 names two are the same once in 86 cases."""
    return _NAMELESS + zlib.crc32(name.encode("utf-8", "backslashreplace")) % (1 << 30)


def _free(number: int, taken: set[int]) -> int:
    while number in taken:
        number += 1
    return number
