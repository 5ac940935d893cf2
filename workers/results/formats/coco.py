"""COCO's object detection format (https://cocodataset.org/#format-data), with scores.

Ids do not depend on which part of the results is asked for, so parts can be combined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from workers.results.formats.source import Result, ResultSource
from workers.results.labels import Labels

# Neither text can occur inside a name: JSON would escape the quotes.
_SUCCEEDED = '"state":"succeeded"'
_DETECTIONS = ',"detections":['
_MOST_DETECTIONS = 10_000  # per image: a contract allows no more


def write_coco(source: ResultSource) -> Iterator[str]:
    """Yield `images` (id: index), `annotations` (bbox: [x, y, width, height] in pixels), `categories`, `failures`.

    An image with a `custom_id` has it beside COCO's fields. Images without a successful result are in `failures`, with
    their error, and not in `images`. Categories come last, since results may contain labels that are in no contract.
    """
    unknown: dict[str, int] = {}
    yield f'{{"info":{json.dumps({"description": f"Shelfline job {source.job}"})},"licenses":[],"images":['
    yield from _joined(map(_text, _images(source)))
    yield '\n],"annotations":['
    yield from _joined(_annotations(source, unknown))
    yield '\n],"categories":['
    yield from _joined(map(_text, _categories(source.labels, unknown)))
    yield '\n],"failures":['
    yield from _joined(map(_text, _failures(source)))
    yield "\n]}\n"


def _images(source: ResultSource) -> Iterator[Any]:
    for line in source.lines():
        head, found, _ = line.partition(_DETECTIONS)  # detections are most of the line, and not needed here
        one = json.loads(head + "}" if found else line)
        if one["state"] == "succeeded":
            yield {"id": one["index"], **_named(one), "width": one["width"], "height": one["height"]}


def _annotations(source: ResultSource, unknown: dict[str, int]) -> Iterator[str]:
    for line in source.lines():
        result = json.loads(line)
        if result["state"] == "succeeded":
            for number, found in enumerate(result["detections"], 1):
                yield _annotation(result, number, found, _category(found["label"], source.labels, unknown))


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
    own_id = result.get("custom_id")
    return {"file_name": result["name"], **({"custom_id": own_id} if own_id else {})}


def _annotation(result: Result, number: int, found: Result, category: int) -> str:
    """Return one annotation as JSON. It is written without json.dumps, since there may be millions."""
    box, index = found["box"], result["index"]
    xmin, ymin = box["xmin"], box["ymin"]
    width, height = round(box["xmax"] - xmin, 2), round(box["ymax"] - ymin, 2)
    # Ids from 1 on: pycocotools' evaluation takes a 0 for "nothing matched".
    return (
        f'{{"id":{index * _MOST_DETECTIONS + number},"image_id":{index},"category_id":{category},'
        f'"bbox":[{xmin},{ymin},{width},{height}],"area":{round(width * height, 2)},"iscrowd":0,"segmentation":[],'
        f'"score":{found["score"]}}}'
    )


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


def _text(found: Any) -> str:  # noqa: ANN401  JSON
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _joined(found: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(found):
        yield f",\n{text}" if number else f"\n{text}"
