"""The report at the end of a run: tables of images and labels, the failures, the totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workers.io.names import escaped_controls, in_words

MAX_ROWS = 50
FIRST_ROWS = 20
MAX_LABELS = 20
BINS = 10  # of the histogram of scores from 0 to 1
_BEST_LABELS = 3
_BARS = " ▁▂▃▄▅▆▇█"
_PLAIN_BARS = " .:-=+*#%@"  # for terminals that cannot show the others


@dataclass
class LabelCount:
    """The counts of one label: detections in ten ranges of score, images, and the best score."""

    scores: list[int] = field(default_factory=lambda: [0] * BINS)
    images: int = 0
    best: float = 0.0

    @property
    def detections(self) -> int:
        """The number of detections."""
        return sum(self.scores)


@dataclass
class Report:
    """Collects from each result what the report shows."""

    succeeded: int = 0
    failed: int = 0
    detections: int = 0
    rows: list[tuple[str, int, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed_by_code: Counter[str] = field(default_factory=Counter)
    labels: dict[str, LabelCount] = field(default_factory=dict)

    def add(self, result: Mapping[str, Any]) -> None:
        """Add a result."""
        if result["state"] != "succeeded":
            self.failed += 1
            error = result.get("error") or {}
            code = error.get("code", result["state"])
            self.failed_by_code[code] += 1
            if len(self.failures) <= MAX_ROWS:  # one more than is shown, to see that there are too many
                self.failures.append((_shown_name(result), f"{code}: {error.get('detail', 'no reason given')}"))
            return
        detections = result["detections"]
        self.succeeded += 1
        self.detections += len(detections)
        if len(self.rows) <= MAX_ROWS:
            self.rows.append((_shown_name(result), len(detections), best_labels(detections)))
        for detection in detections:
            count = self.labels.setdefault(detection["label"], LabelCount())
            count.scores[min(BINS - 1, max(0, int(detection["score"] * BINS)))] += 1
            count.best = max(count.best, detection["score"])
        for label in {detection["label"] for detection in detections}:
            self.labels[label].images += 1

    @property
    def total(self) -> int:
        """The number of images."""
        return self.succeeded + self.failed

    def show(self, console: Console) -> None:
        """Print the tables and the failures."""
        if self.rows:
            console.print(self._table())
            _more(console, self.succeeded, len(self._shown(self.rows, self.succeeded)))
        for name, reason in self._shown(self.failures, self.failed):
            console.print(Text.assemble(("failed ", "red"), (name, "bold"), f"  {reason}"), soft_wrap=True)
        _more(console, self.failed, len(self._shown(self.failures, self.failed)))
        if self.failed > MAX_ROWS:
            counts = ", ".join(f"{code} {count:,}" for code, count in self.failed_by_code.most_common())
            console.print(f"failed by code: {counts}", markup=False, highlight=False, soft_wrap=True)
        if self.labels:
            console.print()
            console.print(self._histogram(plain=console.encoding.lower() not in {"utf-8", "utf8"}))
            _more(console, len(self.labels), MAX_LABELS)

    def totals(self, *, seconds: float, done: int, skipped: Mapping[str, int], written: Sequence[str]) -> str:
        """Return the last line of the report.

        `done` is the number of images that this call did in `seconds`; the others were done before. `skipped` are the
        numbers of other files by suffix, `written` are the paths of the output.
        """
        counts = f"{_counted(self.total, 'image')}: {self.succeeded:,} succeeded, {self.failed:,} failed"
        others = _counted(sum(skipped.values()), "other file")
        other = f", {others} skipped ({in_words(skipped)})" if skipped else ""
        rate = f"{done / seconds:.1f} images/s" if seconds > 0 and done else "at once"
        detections = f"{_counted(self.detections, 'detection')} in {_lasted(seconds)} ({rate})"
        before = f", {self.total - done:,} of the images done before" if done < self.total else ""
        return f"{counts}{other}, {detections}{before} -> {', '.join(written)}"

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("image", overflow="fold")
        table.add_column("detections", justify="right")
        table.add_column("best labels", overflow="fold")
        for name, count, labels in self._shown(self.rows, self.succeeded):
            table.add_row(Text(name), str(count), Text(labels))
        return table

    def _histogram(self, *, plain: bool) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("label", overflow="fold")
        table.add_column("detections", justify="right")
        table.add_column("images", justify="right")
        table.add_column("best", justify="right")
        table.add_column("scores 0 to 1", no_wrap=True)
        ordered = sorted(self.labels, key=lambda label: (-self.labels[label].detections, label))
        for label in ordered[:MAX_LABELS]:
            count = self.labels[label]
            numbers = (f"{count.detections:,}", f"{count.images:,}", f"{count.best:.2f}")
            table.add_row(Text(label), *numbers, Text(f"|{bars(count.scores, plain=plain)}|"))
        return table

    @staticmethod
    def _shown(rows: list[Any], count: int) -> list[Any]:
        return rows if count <= MAX_ROWS else rows[:FIRST_ROWS]


def bars(counts: Sequence[int], *, plain: bool = False) -> str:
    """Return a histogram in one line, with one character per count: blank for 0, the highest bar for the maximum."""
    heights, highest = (_PLAIN_BARS if plain else _BARS), max([*counts, 1])
    return "".join(heights[-(-count * (len(heights) - 1) // highest)] for count in counts)


def _shown_name(result: Mapping[str, Any]) -> str:
    """Return the name of a result with control characters escaped, so that it is safe on a terminal."""
    return escaped_controls(result["name"])


def best_labels(detections: Sequence[Mapping[str, Any]]) -> str:
    """Return the three best labels with their best scores, and counts above 1: `person 0.93, cup 0.61 (2)`."""
    count = Counter(detection["label"] for detection in detections)
    best: dict[str, float] = {}
    for detection in detections:
        best[detection["label"]] = max(detection["score"], best.get(detection["label"], 0.0))
    ordered = sorted(best, key=lambda label: -best[label])[:_BEST_LABELS]
    named = (f"{label} {best[label]:.2f}" + (f" ({count[label]})" if count[label] > 1 else "") for label in ordered)
    return ", ".join(named) + (", …" if len(best) > _BEST_LABELS else "")


def _more(console: Console, count: int, shown: int) -> None:
    if count > shown:
        console.print(f"… and {count - shown:,} more", highlight=False)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _lasted(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
