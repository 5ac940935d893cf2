"""COCO's object detection format (https://cocodataset.org/#format-data), with scores.

Ids do not depend on which part of the results is asked for, so parts can be put together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from api.formats.source import Result, ResultSource
from workers.labels import Labels

_SUCCEEDED = '"state":"succeeded"'  # cannot stand in a name: there its quotes would be escaped
_MOST_DETECTIONS = 10_000  # of an image: a contract allows no more


def write_coco(source: ResultSource) -> Iterator[str]:
    """`images` (id: the index), `annotations` (bbox: [x, y, width, height] in pixels), `categories`, `failures`.

    Images that failed are in `failures`, with their error, and not in `images`. Categories come last, since a label
    may be found that no contract has.
    """
    unknown: dict[str, int] = {}
    yield f'{{"info":{json.dumps({"description": f"Shelfline job {source.job}"})},"licenses":[],"images":['
    yield from _joined(_image(one) for one in _succeeded(source))
    yield '\n],"annotations":['
    yield from _joined(
        _annotation(one, number, found, _category(found["label"], source.labels, unknown))
        for one in _succeeded(source)
        for number, found in enumerate(one["detections"], 1)
    )
    yield '\n],"categories":['
    yield from _joined(_categories(source.labels, unknown))
    yield '\n],"failures":['
    yield from _joined(_failures(source))
    yield "\n]}\n"


def _succeeded(source: ResultSource) -> Iterator[Result]:
    for line in source.lines():
        result = json.loads(line)
        if result["state"] == "succeeded":
            yield result


def _failures(source: ResultSource) -> Iterator[Any]:
    for line in source.lines():
        if _SUCCEEDED not in line and (result := json.loads(line))["state"] != "succeeded":
            yield {
                "image_id": result["index"],
                "file_name": result["name"],
                "state": result["state"],
                "error": result.get("error"),
            }


def _image(result: Result) -> Any:  # noqa: ANN401  JSON
    return {
        "id": result["index"],
        "file_name": result["name"],
        "width": result["width"],
        "height": result["height"],
    }


def _annotation(result: Result, number: int, found: Result, category: int) -> Any:  # noqa: ANN401  JSON
    box = found["box"]
    width, height = round(box["xmax"] - box["xmin"], 2), round(box["ymax"] - box["ymin"], 2)
    return {
        # From 1 on: pycocotools' evaluation takes a 0 for "nothing matched".
        "id": result["index"] * _MOST_DETECTIONS + number,
        "image_id": result["index"],
        "category_id": category,
        "bbox": [box["xmin"], box["ymin"], width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "segmentation": [],
        "score": found["score"],
    }


def _category(name: str, labels: Labels, unknown: dict[str, int]) -> int:
    number = labels.category(name)
    if name not in labels.by_name:
        unknown[name] = number
    return number


def _categories(labels: Labels, unknown: dict[str, int]) -> Iterator[Any]:
    for name, label in labels.by_name.items():
        yield {"id": label.id, "name": name, "supercategory": label.root}
    for name, number in unknown.items():
        yield {"id": number, "name": name, "supercategory": ""}


def _joined(found: Iterable[Any]) -> Iterator[str]:
    for number, one in enumerate(found):
        text = json.dumps(one, ensure_ascii=False, separators=(",", ":"))
        yield f",\n{text}" if number else f"\n{text}"
