"""COCO's object detection format (https://cocodataset.org/#format-data), with scores.

Ids do not depend on which part of the results is asked for, so parts can be combined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workers.jobs.result import compact_json
from workers.results.formats.source import Result, ResultSource
from workers.results.labels import Labels

# Neither text can occur inside a name: JSON would escape the quotes.
_SUCCEEDED = '"state":"succeeded"'
_DETECTIONS = ',"detections":['
_MAX_DETECTIONS = 10_000  # per image: a contract allows no more


def write_coco(source: ResultSource) -> Iterator[str]:
    """Yield `images` (id: index), `annotations` (bbox: [x, y, width, height] in pixels), `categories`, `failures`.

    An image with a `custom_id` has it beside COCO's fields. Images without a successful result are in `failures`, with
    their error, and not in `images`. Categories come last, since results may contain labels that are in no contract.
    """
    unknown: dict[str, int] = {}
    yield f'{{"info":{json.dumps({"description": f"Shelfline job {source.job}"})},"licenses":[],"images":['
    yield from _joined(map(compact_json, _images(source)))
    yield '\n],"annotations":['
    yield from _joined(_annotations(source, unknown))
    yield '\n],"categories":['
    yield from _joined(map(compact_json, _categories(source.labels, unknown)))
    yield '\n],"failures":['
    yield from _joined(map(compact_json, _failures(source)))
    yield "\n]}\n"


def _images(source: ResultSource) -> Iterator[Any]:
    for line in source.lines():
        head, separator, _ = line.partition(_DETECTIONS)  # detections are most of the line, and not needed here
        result = json.loads(head + "}" if separator else line)
        if result["state"] == "succeeded":
            yield {"id": result["index"], **_named(result), "width": result["width"], "height": result["height"]}


def _annotations(source: ResultSource, unknown: dict[str, int]) -> Iterator[str]:
    for line in source.lines():
        result = json.loads(line)
        if result["state"] == "succeeded":
            for number, detection in enumerate(result["detections"], 1):
                yield _annotation(result, number, detection, _category(detection["label"], source.labels, unknown))


def _failures(source: ResultSource) -> Iterator[Any]:
    for line in source.lines():
        if _SUCCEEDED not in line and (result := json.loads(line))["state"] != "succeeded":
            yield {
                "image_id": result["index"],
                **_named(result),
                "state": result["state"],
                "error": result.get("error"),
            }


def _named(result: Result) -> dict[str, str]:
    """Return the fields that name an image: its name, and its `custom_id` if the caller gave one."""
    custom_id = result.get("custom_id")
    return {"file_name": result["name"], **({"custom_id": custom_id} if custom_id else {})}


def _annotation(result: Result, number: int, detection: Mapping[str, Any], category: int) -> str:
    """Return one annotation as JSON. It is written without json.dumps, since there may be millions."""
    box, index = detection["box"], result["index"]
    xmin, ymin = box["xmin"], box["ymin"]
    width, height = round(box["xmax"] - xmin, 2), round(box["ymax"] - ymin, 2)
    # Ids from 1 on: pycocotools' evaluation takes a 0 for "nothing matched".
    return (
        f'{{"id":{index * _MAX_DETECTIONS + number},"image_id":{index},"category_id":{category},'
        f'"bbox":[{xmin},{ymin},{width},{height}],"area":{round(width * height, 2)},"iscrowd":0,"segmentation":[],'
        f'"score":{detection["score"]}}}'
    )


def _category(name: str, labels: Labels, unknown: dict[str, int]) -> int:
    category = labels.category(name)
    if name not in labels.by_name:
        unknown[name] = category
    return category


def _categories(labels: Labels, unknown: dict[str, int]) -> Iterator[Any]:
    for name, label in labels.by_name.items():
        yield {"id": label.id, "name": name, "supercategory": label.root}
    for name, category in unknown.items():
        yield {"id": category, "name": name, "supercategory": ""}


def _joined(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f",\n{text}" if number else f"\n{text}"
