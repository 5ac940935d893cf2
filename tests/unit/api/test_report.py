from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from api.report import Report, best_labels


def _found(*labels: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in labels]


def _shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=120)
    report.show(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_best_labels() -> None:
    """Each label once, best first, with its count."""
    assert best_labels(_found(("cup", 0.9), ("tie", 0.7), ("cup", 0.5))) == "cup 0.90 (2), tie 0.70"
    assert best_labels(_found(*((name, 0.5) for name in "abcd"))) == "a 0.50, b 0.50, c 0.50, …"
    assert best_labels([]) == ""


def test_a_report() -> None:
    """Images, failures with their reason, totals."""
    report = Report()
    report.add({"name": "[a].jpg", "state": "succeeded", "detections": _found(("cup", 0.9))})
    report.add({"name": "b.jpg", "state": "failed", "error": {"code": "image_decode_failed", "detail": "damaged"}})

    text = _shown(report)

    assert "[a].jpg" in text
    assert "cup 0.90" in text
    assert "b.jpg  image_decode_failed: damaged" in text
    assert report.totals(
        seconds=0.5, skipped=1, results=Path("out/results.jsonl"), annotated=Path("out/annotated")
    ) == (
        "2 images: 1 succeeded, 1 failed, 1 other file skipped, 1 detection in 0.5 s (4.0 images/s)"
        " -> out/results.jsonl, out/annotated/"
    )


def test_many_images() -> None:
    """Of more than fifty only the first twenty are listed; of fifty, all."""
    report = Report()
    for number in range(50):
        report.add({"name": f"{number:03}.jpg", "state": "succeeded", "detections": []})
    assert "049.jpg" in _shown(report)
    report.add({"name": "050.jpg", "state": "succeeded", "detections": []})

    text = _shown(report)

    assert "019.jpg" in text
    assert "020.jpg" not in text
    assert "… and 31 more" in text
    assert report.total == 51
