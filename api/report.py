"""What is told at the end of a run: a table, the failures, the totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_ROWS = 50
FIRST_ROWS = 20
_BEST_LABELS = 3


@dataclass
class Report:
    """Collects, of each result, what the end of the run tells of it."""

    succeeded: int = 0
    failed: int = 0
    detections: int = 0
    rows: list[tuple[str, int, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, result: Mapping[str, Any]) -> None:
        """Count a result."""
        if result["state"] != "succeeded":
            self.failed += 1
            error = result.get("error", {})
            reason = f"{error.get('code', result['state'])}: {error.get('detail', 'no reason given')}"
            self._keep(self.failures, (result["name"], reason))
            return
        self.succeeded += 1
        self.detections += len(result["detections"])
        self._keep(self.rows, (result["name"], len(result["detections"]), best_labels(result["detections"])))

    @property
    def total(self) -> int:
        """All images."""
        return self.succeeded + self.failed

    def show(self, console: Console) -> None:
        """Print the table and the failures."""
        if self.rows:
            console.print(self._table())
            _more(console, self.succeeded, len(self._shown(self.rows, self.succeeded)))
        for name, reason in self._shown(self.failures, self.failed):
            console.print(Text.assemble(("failed ", "red"), (name, "bold"), f"  {reason}"), soft_wrap=True)
        _more(console, self.failed, len(self._shown(self.failures, self.failed)))

    def totals(self, *, seconds: float, skipped: int, results: Path, annotated: Path) -> str:
        """The last line."""
        counts = f"{_counted(self.total, 'image')}: {self.succeeded} succeeded, {self.failed} failed"
        other = f", {_counted(skipped, 'other file')} skipped" if skipped else ""
        rate = f"{self.total / seconds:.1f} images/s" if seconds > 0 else "at once"
        found = f"{_counted(self.detections, 'detection')} in {seconds:.1f} s ({rate})"
        return f"{counts}{other}, {found} -> {results}, {annotated}/"

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("image", overflow="fold")
        table.add_column("detections", justify="right")
        table.add_column("best labels", overflow="fold")
        for name, count, labels in self._shown(self.rows, self.succeeded):
            table.add_row(Text(name), str(count), Text(labels))
        return table

    @staticmethod
    def _keep(kept: list[Any], one: object) -> None:
        if len(kept) <= MOST_ROWS:  # one more tells that there are too many
            kept.append(one)

    @staticmethod
    def _shown(kept: list[Any], count: int) -> list[Any]:
        return kept if count <= MOST_ROWS else kept[:FIRST_ROWS]


def best_labels(detections: list[Mapping[str, Any]]) -> str:
    """The best labels, each once with its best score and how often it was found: `person 0.93, cup 0.61 (2)`."""
    count = Counter(one["label"] for one in detections)
    best: dict[str, float] = {}
    for one in detections:
        best[one["label"]] = max(one["score"], best.get(one["label"], 0.0))
    ordered = sorted(best, key=lambda label: -best[label])[:_BEST_LABELS]
    named = (f"{label} {best[label]:.2f}" + (f" ({count[label]})" if count[label] > 1 else "") for label in ordered)
    return ", ".join(named) + (", …" if len(best) > _BEST_LABELS else "")


def _more(console: Console, count: int, shown: int) -> None:
    if count > shown:
        console.print(f"… and {count - shown} more")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
