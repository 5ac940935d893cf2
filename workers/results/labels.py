"""The labels in results: their category ids, category paths and thresholds, by the contracts of the versions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from serving.contract import Contract, Label

_NAMELESS = 1 << 24  # the first category id for labels that are in no contract


@dataclass(frozen=True)
class Labels:
    """The labels of a job's results.

    `contracts` are those of the versions that made the results, newest first. `min_score` is the caller's option.
    """

    contracts: Sequence[Contract] = ()
    min_score: float | None = None

    @cached_property
    def by_name(self) -> dict[str, Label]:
        """Return the labels by name. If versions differ, the newest wins. No two labels have the same id."""
        labels: dict[str, Label] = {}
        taken: set[int] = set()
        for contract in self.contracts:
            for label in contract.labels:
                if label.name in labels:
                    continue
                label_id = label.id if label.id not in taken else _id_of_name(label.name)
                while label_id in taken:
                    label_id += 1
                taken.add(label_id)
                labels[label.name] = label.model_copy(update={"id": label_id})
        return labels

    @cached_property
    def score_threshold(self) -> float:
        """Return the score below which no detection is in the results."""
        return max(self.min_score or 0.0, min((contract.lowest_threshold for contract in self.contracts), default=0.0))

    def root(self, name: str) -> str:
        """Return the category path of a label, empty if it has none."""
        label = self.by_name.get(name)
        return label.root if label else ""

    def category(self, name: str) -> int:
        """Return the category id of a label: the model's, or one made from the name if the label is in no contract."""
        label = self.by_name.get(name)
        return label.id if label else _id_of_name(name)


def _id_of_name(name: str) -> int:
    """Return an id made from a name alone, always the same. Among 5000 names, two share an id in 1 of 86 cases."""
    return _NAMELESS + zlib.crc32(name.encode("utf-8", "backslashreplace")) % (1 << 30)
