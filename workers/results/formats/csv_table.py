"""CSV (RFC 4180) for spreadsheets and pandas: one row per detection."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from workers.results.formats.source import Result, ResultSource

COLUMNS = (
    "index", "name", "custom_id", "state", "width", "height", "model", "model_version",
    "label", "score", "xmin", "ymin", "xmax", "ymax", "error_code", "error_detail",
)  # fmt: skip
_NO_DETECTION = (None,) * 6  # label, score and box
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for the machine's own code page
# The last four are full-width = + - @: spreadsheets of East Asia run them too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_csv(source: ResultSource) -> Iterator[str]:
    """Yield a row for each detection; an image without detections, also a failed one, has one row.

    Boxes are in pixels. A text that a spreadsheet would run as a formula gets a `'` in front.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    out.write(_BYTE_ORDER_MARK)
    rows.writerow(COLUMNS)
    for line in source.lines():
        for row in detection_rows(json.loads(line)):
            rows.writerow(defused(value) if isinstance(value, str) else value for value in row)  # None: empty
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def detection_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    """Yield the values of COLUMNS for each detection of an image, at least one row; missing values are None."""
    error = result.get("error") or {}
    image = tuple(result.get(name) for name in COLUMNS[:8])
    failure = (error.get("code"), error.get("detail"))
    for detection in result.get("detections", ()):
        box = detection["box"]
        sides = (box["xmin"], box["ymin"], box["xmax"], box["ymax"])
        yield (*image, detection["label"], detection["score"], *sides, *failure)
    if not result.get("detections"):
        yield (*image, *_NO_DETECTION, *failure)


def defused(text: str) -> str:
    """Return the text so that no spreadsheet runs it as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text
