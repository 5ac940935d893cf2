from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from api.commands.detect.report import Report, bars, best_labels


def _found(*labels: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in labels]


def _shown(report: Report) -> str:
    out = io.StringIO()
    report.show(Console(file=out, width=120))
    return out.getvalue()


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
        seconds=0.5, done=2, skipped={".heic": 1}, written=["out/results.jsonl", "out/annotated/"]
    ) == (
        "2 images: 1 succeeded, 1 failed, 1 other file skipped (1 .heic), 1 detection in 0.5 s (4.0 images/s)"
        " -> out/results.jsonl, out/annotated/"
    )


def test_an_odd_name_is_a_line() -> None:
    """Nothing in it moves to the next line, or tells the terminal what to do."""
    report = Report()
    report.add({"name": "a\n\x1b[2Jb.jpg", "state": "succeeded", "detections": []})
    report.add({"name": "c\nd.jpg", "state": "failed"})

    text = _shown(report)

    assert r"a\n\x1b[2Jb.jpg" in text
    assert r"failed c\nd.jpg" in text


def test_names_of_screenshots() -> None:
    """Spaces of all kinds are shown as they are: they do nothing to a terminal."""
    report = Report()
    name = "Screenshot at 9.41\u202fAM\u3000\ue000.png"
    report.add({"name": name, "state": "succeeded", "detections": []})

    assert name in _shown(report)


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


def test_a_run_that_went_on() -> None:
    """Its rate is of what it did itself."""
    report = Report(succeeded=1000)
    totals = report.totals(seconds=125.0, done=250, skipped={}, written=["r"])
    assert totals == (
        "1,000 images: 1,000 succeeded, 0 failed, 0 detections in 2 min 5 s (2.0 images/s), "
        "750 of the images done before -> r"
    )
    assert "in 0.0 s (at once)" in report.totals(seconds=0.0, done=0, skipped={}, written=["r"])
    assert "in 2 h 5 min" in report.totals(seconds=7500.0, done=1, skipped={}, written=["r"])


def test_the_histogram() -> None:
    """Labels, most found first, with their scores in tenths; the bounds 0 and 1 are within."""
    report = Report()
    report.add({"name": "a", "state": "succeeded", "detections": _found(("cup", 1.0), ("cup", 0.95), ("[tie]", 0.0))})
    report.add({"name": "b", "state": "succeeded", "detections": _found(("cup", 0.31))})

    lines = _shown(report).splitlines()[-3:]

    assert [line.split()[:4] for line in lines[1:]] == [["cup", "3", "2", "1.00"], ["[tie]", "1", "1", "0.00"]]
    assert report.labels["cup"].scores == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert lines[1].rstrip().endswith("|   ▄     █|")
    assert bars([0, 1, 100], plain=True) == " .@"
    assert bars([0, 0]) == "  "


def test_many_labels_and_failures() -> None:
    """Only the most frequent are shown, and failures are counted by their codes."""
    report = Report()
    names = [(f"label {number}", 0.5) for number in range(25)]
    report.add({"name": "a", "state": "succeeded", "detections": _found(*names)})
    for number in range(60):
        code = "image_missing" if number % 3 else "image_decode_failed"
        report.add({"name": str(number), "state": "failed", "error": {"code": code, "detail": "d"}})
    report.add({"name": "c", "state": "canceled"})

    text = _shown(report)

    assert "… and 5 more" in text
    assert "failed by code: image_missing 40, image_decode_failed 20, canceled 1" in text
