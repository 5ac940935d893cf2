"""CSV (RFC 4180) as spreadsheets and pandas read it: a row a detection."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from api.formats.source import Result, ResultSource

COLUMNS = (
    "index", "name", "custom_id", "state", "width", "height", "model", "model_version",
    "label", "score", "xmin", "ymin", "xmax", "ymax", "error_code", "error_detail",
)  # fmt: skip
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for the machine's own code page
_NO_DETECTION = ("",) * 6  # label, score and box
# The last four are full-width = + - @: spreadsheets of East Asia run them too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_csv(source: ResultSource) -> Iterator[str]:
    """A row for each detection; an image without any has one row, and so has one that failed. Boxes are in pixels.

    A text that a spreadsheet would run as a formula has a `'` in front.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    out.write(_BYTE_ORDER_MARK)
    rows.writerow(COLUMNS)
    for line in source.lines():
        rows.writerows(_rows(json.loads(line)))
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _rows(result: Result) -> Iterator[tuple[Any, ...]]:
    error = result.get("error") or {}
    image = (
        result["index"],
        defused(result["name"]),
        defused(result.get("custom_id") or ""),
        result["state"],
        result.get("width", ""),
        result.get("height", ""),
        defused(result.get("model", "")),
        result.get("model_version", ""),
    )
    failure = (error.get("code", ""), defused(error.get("detail", "")))
    for found in result.get("detections", ()):
        box = found["box"]
        sides = (box["xmin"], box["ymin"], box["xmax"], box["ymax"])
        yield (*image, defused(found["label"]), found["score"], *sides, *failure)
    if not result.get("detections"):
        yield (*image, *_NO_DETECTION, *failure)


def defused(text: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text
