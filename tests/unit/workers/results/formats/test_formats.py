"""The formats of results, each read back by whoever reads it elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from serving.contract import Contract, Label
from workers.results.formats.coco import write_coco
from workers.results.formats.csv_table import COLUMNS, defused, write_csv
from workers.results.formats.registry import FORMATS, FormatName, write_baidu, write_json, write_jsonl
from workers.results.formats.source import ResultSource, Writer
from workers.results.labels import Labels

CONTRACT = Contract(
    name="shelf",
    input_height=32,
    input_width=32,
    score_threshold=0.25,
    nms_iou=0.5,
    max_detections=10,
    labels=(Label(id=7, name="cola", root="drinks-soft"), Label(id=0, name="tea, 'hot'")),
    weights_sha256="0" * 64,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
NUMBERS = st.floats(0, 5000).map(lambda value: round(value, 2))


@st.composite
def _detections(draw: st.DrawFn) -> dict[str, Any]:
    (ymin, ymax), (xmin, xmax) = (sorted(draw(st.tuples(NUMBERS, NUMBERS))) for _ in range(2))
    label = draw(st.sampled_from(["cola", "tea, 'hot'", "class 3", "=1+1"]))
    score = round(draw(st.floats(0, 1)), 6)
    return {"label": label, "score": score, "box": {"ymin": ymin, "xmin": xmin, "ymax": ymax, "xmax": xmax}}


@st.composite
def results(draw: st.DrawFn) -> list[dict[str, Any]]:
    drawn_results = []
    for index in range(draw(st.integers(0, 4))):
        result: dict[str, Any] = {"index": index, "name": draw(NAMES)}
        if draw(st.booleans()):
            result["custom_id"] = draw(NAMES)
        state = draw(st.sampled_from(["succeeded", "failed", "canceled"]))
        result["state"] = state
        if state == "succeeded":
            detections = draw(st.lists(_detections(), max_size=3))
            result |= {"width": 5000, "height": 4000, "model": "shelf", "model_version": 3, "detections": detections}
        if state == "failed":
            result["error"] = {"code": "image_decode_failed", "detail": draw(NAMES), "retryable": False}
        drawn_results.append(result)
    return drawn_results


def written(writer: Writer, image_results: list[dict[str, Any]], next_url: str | None = None, **labels: Any) -> str:
    lines = [json.dumps(result, ensure_ascii=False, separators=(",", ":")) for result in image_results]
    given_labels = Labels(**{"contracts": (CONTRACT,)} | labels)
    return "".join(writer(ResultSource("job_1", lambda: iter(lines), given_labels, next_url)))


@settings(max_examples=40, deadline=None)
@given(results())
def test_json_lines(image_results: list[dict[str, Any]]) -> None:
    """A line a result, as it is."""
    text = written(write_jsonl, image_results)
    assert [json.loads(line) for line in text.split("\n")[:-1]] == image_results
    assert text == "" or text.endswith("\n")


@settings(max_examples=40, deadline=None)
@given(results(), st.sampled_from([None, "http://x/?a=1&b=\"'"]))
def test_one_document(image_results: list[dict[str, Any]], next_url: str | None) -> None:
    """A list like the API's others."""
    expected = {"object": "list", "job": "job_1", "data": image_results, "next": next_url}
    assert json.loads(written(write_json, image_results, next_url)) == expected


@settings(max_examples=40, deadline=None)
@given(results())
def test_coco(image_results: list[dict[str, Any]]) -> None:
    """Every image that succeeded, every detection with its box and category, each failure; ids are never doubled."""
    document = json.loads(written(write_coco, image_results))
    good = [result for result in image_results if result["state"] == "succeeded"]
    assert [image["id"] for image in document["images"]] == [result["index"] for result in good]
    assert [image["file_name"] for image in document["images"]] == [result["name"] for result in good]
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert len(names) == len(document["categories"])
    assert {"id": 7, "name": "cola", "supercategory": "drinks-soft"} in document["categories"]
    expected = [(result["index"], each) for result in good for each in result["detections"]]
    assert len({drawn["id"] for drawn in document["annotations"]} - {0}) == len(expected)
    for annotation, (index, detection) in zip(document["annotations"], expected, strict=True):
        box = detection["box"]
        assert (annotation["image_id"], names[annotation["category_id"]]) == (index, detection["label"])
        x, y, width, height = annotation["bbox"]
        assert (x, y) == (box["xmin"], box["ymin"])
        assert (x + width, y + height) == pytest.approx((box["xmax"], box["ymax"]), abs=0.01)
        assert annotation["area"] == pytest.approx(width * height, abs=0.01)
    bad = [result for result in image_results if result["state"] != "succeeded"]
    assert [failure["image_id"] for failure in document["failures"]] == [result["index"] for result in bad]
    ids = [image.get("custom_id") for image in document["images"] + document["failures"]]
    assert ids == [result.get("custom_id") or None for result in good + bad]


def _shelf() -> list[dict[str, Any]]:
    box = {"ymin": 1.0, "xmin": 2.0, "ymax": 11.5, "xmax": 22.0}
    detections = [{"label": label, "score": 0.5, "box": box} for label in ("cola", "class 3")]
    sized = {"width": 40, "height": 30, "model": "shelf", "model_version": 3}
    return [
        {"index": 0, "name": "a.jpg", "state": "succeeded", **sized, "detections": detections},
        {"index": 1, "name": "b.jpg", "state": "failed", "error": {"code": "image_missing", "detail": "gone"}},
        {"index": 2, "name": "=cmd()", "state": "succeeded", **sized, "detections": []},
    ]


def test_pycocotools_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And finds images by category, annotations by image, boxes as they are."""
    path = tmp_path / "coco.json"
    path.write_text(written(write_coco, _shelf()))
    coco = COCO(str(path))
    capsys.readouterr()
    (cola,) = coco.getCatIds(catNms=["cola"])
    assert (cola, coco.getImgIds(catIds=[cola])) == (7, [0])
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[0], catIds=[cola]))
    assert annotation["bbox"] == [2.0, 1.0, 20.0, 10.5]
    assert coco.getAnnIds(imgIds=[2]) == []
    assert sorted(coco.getImgIds()) == [0, 2]


def test_parts_of_coco_fit_together() -> None:
    """The same image has the same ids whatever part it is read in, and a label the same category."""
    shelf = _shelf()
    whole = json.loads(written(write_coco, shelf * 1))
    part = json.loads(written(write_coco, shelf[:1], contracts=()))
    assert [annotation["id"] for annotation in whole["annotations"]] == [
        annotation["id"] for annotation in part["annotations"]
    ]
    assert whole["annotations"][1]["category_id"] == part["annotations"][1]["category_id"]


def test_categories_of_several_versions() -> None:
    """The newest version is right; what only an older one has keeps an id of its own."""
    newer = CONTRACT.model_copy(update={"labels": (Label(id=0, name="cola"), Label(id=1, name="water"))})
    labels = Labels((newer, CONTRACT))
    assert [labels.category(name) for name in ("cola", "water")] == [0, 1]
    numbers = [labels.category(name) for name in ("cola", "water", "tea, 'hot'", "other")]
    assert len(set(numbers)) == 4
    assert (labels.root("cola"), labels.root("other")) == ("", "")


@settings(max_examples=40, deadline=None)
@given(results())
def test_csv(image_results: list[dict[str, Any]]) -> None:
    """A row a detection, one for an image without any; every text comes back, but for the `'` before a formula."""
    text = written(write_csv, image_results)
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    expected: list[tuple[str, str, str]] = []
    for result in image_results:
        name, state = defused(result["name"]), result["state"]
        labels = [defused(each["label"]) for each in result.get("detections", [])] or [""]
        expected += [(name, state, label) for label in labels]
    assert [(row["name"], row["state"], row["label"]) for row in rows] == expected
    assert all(tuple(row) == COLUMNS for row in rows)


def test_pandas_reads_it() -> None:
    """With the columns' types, the byte order mark aside."""
    table = pd.read_csv(io.BytesIO(written(write_csv, _shelf()).encode()))
    assert tuple(table.columns) == COLUMNS
    assert table["index"].tolist() == [0, 0, 1, 2]
    assert table["xmax"].dropna().tolist() == [22.0, 22.0]
    assert table["label"].tolist()[:2] == ["cola", "class 3"]
    assert table.query("state == 'failed'")["error_code"].tolist() == ["image_missing"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_no_formula_reaches_a_spreadsheet(text: str) -> None:
    """In no column that others wrote."""
    result = {**_shelf()[0], "name": text, "custom_id": text}
    result["detections"] = [{**result["detections"][0], "label": text}]
    failed = {**_shelf()[1], "error": {"code": "x", "detail": text}}
    for row in csv.DictReader(io.StringIO(written(write_csv, [result, failed])[1:], newline="")):
        assert not [cell for cell in row.values() if cell.startswith(text[0])]


@settings(max_examples=40, deadline=None)
@given(results())
def test_the_robots_bodies(image_results: list[dict[str, Any]]) -> None:
    """One a line: the caller's own id or ours, the labels with their paths, or an error of Baidu's."""
    bodies = [json.loads(line) for line in written(write_baidu, image_results, min_score=0.5).split("\n")[:-1]]
    for body, result in zip(bodies, image_results, strict=True):
        assert body["requestId"] == result.get("custom_id", f"job_1/{result['index']}")
        if result["state"] != "succeeded":
            assert body["error_code"] == (216201 if result["state"] == "failed" else 282000)
            continue
        assert body["resultNum"] == len(body["result"]) == len(result["detections"])
        assert body["filterThreshold"] == 0.5
        for row, detection in zip(body["result"], result["detections"], strict=True):
            assert (row["keyword"], row["score"]) == (detection["label"], detection["score"])
            assert row["root"] == ("drinks-soft" if row["keyword"] == "cola" else "")


def test_nothing_is_held() -> None:
    """Each format gives what it has before it has read everything."""

    def endless() -> Iterator[str]:
        while True:
            yield json.dumps(_shelf()[0])

    for name in FormatName:
        pieces = FORMATS[name].write(ResultSource("job_1", endless, Labels((CONTRACT,))))
        assert len([next(pieces) for _ in range(50)]) == 50


def test_labels_without_a_contract() -> None:
    """Still have one number each, and no threshold is claimed."""
    labels = Labels()
    assert labels.category("a") == Labels().category("a") != labels.category("b")
    assert (labels.root("a"), labels.score_threshold) == ("", 0.0)
    assert Labels((CONTRACT,)).score_threshold == 0.25
