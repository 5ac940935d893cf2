from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ExportError
from exporter.models.yolo.metadata import YoloMetadata, metadata_of_properties, read_metadata
from serving.errors import ShelflineError

# What Ultralytics 8.4 writes, with fewer names.
WRITTEN = """\
description: Ultralytics YOLO11n model trained on shelf.yaml
author: Ultralytics
date: '2026-11-30T19:00:00.000000'
version: 8.4.0
license: AGPL-3.0 License (https://ultralytics.com/license)
docs: https://docs.ultralytics.com
stride: 32
task: detect
batch: 1
imgsz:
- 640
- 480
names:
  0: 绿茶
  1: no
args:
  batch: 1
  int8: false
  nms: false
channels: 3
end2end: false
"""


def read(folder: Path, text: str, labels: str | None = None) -> YoloMetadata:
    (folder / "metadata.yaml").write_text(text, "utf-8")
    if labels is None:
        return read_metadata(folder)
    (folder / "labels.txt").write_text(labels, "utf-8")
    return read_metadata(folder, folder / "labels.txt")


def names(metadata: YoloMetadata) -> list[str]:
    return [label.name for label in metadata.labels]


def test_what_ultralytics_writes_is_read(tmp_path: Path) -> None:
    """Names stay texts, Chinese ones and those that YAML takes for a truth value; imgsz is height and width."""
    metadata = read(tmp_path, WRITTEN)

    assert names(metadata) == ["绿茶", "no"]
    assert [label.id for label in metadata.labels] == [0, 1]
    assert (metadata.size, metadata.selects) == ((640, 480), False)
    assert metadata.provenance == (
        "Ultralytics YOLO11n model trained on shelf.yaml; 2026-11-30T19:00:00.000000; "
        "AGPL-3.0 License (https://ultralytics.com/license)"
    )


@pytest.mark.parametrize(
    ("written", "size"),
    [("imgsz: 320", (320, 320)), ("imgsz: [320]", (320, 320)), ("imgsz: [320, 640]", (320, 640)), ("", None)],
)
def test_imgsz_is_one_number_or_two(tmp_path: Path, written: str, size: tuple[int, int] | None) -> None:
    """Or nothing, as of YOLOv5."""
    assert read(tmp_path, f"names: [tea]\n{written}\n").size == size


@pytest.mark.parametrize(
    ("written", "selects"),
    [
        ("end2end: true", True),
        ("end2end: false", False),
        ("args: {nms: true}", True),
        ("args: {nms: false}", None),
        ("end2end: false\nargs: {nms: true}", True),
        ("", None),
    ],
)
def test_a_model_that_selects_says_so(tmp_path: Path, written: str, selects: Any) -> None:
    """Trained so or exported with NMS; an older YOLOv10 says nothing of it."""
    assert read(tmp_path, f"names: [tea]\n{written}\n").selects == selects


def test_other_names_replace_the_model_s(tmp_path: Path) -> None:
    """A file of labels, in any of their formats; it is enough where there is no metadata.yaml."""
    replaced = read(tmp_path, WRITTEN, "tea\nrice\n")
    (tmp_path / "metadata.yaml").unlink()

    assert names(replaced) == ["tea", "rice"]
    assert replaced.size == (640, 480)
    assert names(read_metadata(tmp_path, tmp_path / "labels.txt")) == ["tea", "rice"]


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("task: detect", "task: segment", 'the task of the model is "segment", which answers masks'),
        ("task: detect", "task: pose", "which answers keypoints"),
        ("task: detect", "task: obb", "which answers rotated boxes"),
        ("task: detect", "task: classify", "which answers one label for the whole photo"),
        ("task: detect", "task: count", 'the task of the model is "count": Shelfline serves detectors'),
        ("  1: no", "  2: no", "without a gap, but 1 is missing"),
        ("  1: no", "  1: 绿茶", "stands for 0 and for 1"),
        ("  1: no", "  1: ''", "id 1: the name is blank"),
        ("names:\n  0: 绿茶\n  1: no\n", "", "has no `names`: name the classes with --labels"),
        ("names:\n  0: 绿茶\n  1: no\n", "names: tea\n", "holds no labels"),
        ("- 640\n- 480", "- 640\n- wide", r"imgsz is \['640', 'wide'\]: it must be the side in pixels"),
        ("- 640\n- 480", "- 640\n- 480\n- 3", "imgsz is"),
        ("- 640\n- 480", "- 0\n- 480", "imgsz is"),
        ("channels: 3", "channels: 1", "images of 1 channels"),
        ("names:", "names: [", "is not YAML"),
        (WRITTEN, "- tea\n", "is not what Ultralytics writes"),
        (WRITTEN, "", "is not what Ultralytics writes"),
    ],
)
def test_metadata_of_something_else_are_refused(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """In one line."""
    assert before in WRITTEN

    with pytest.raises(ShelflineError, match=complaint) as refused:
        read(tmp_path, WRITTEN.replace(before, after))
    assert "\n" not in str(refused.value)


def test_a_model_without_metadata_is_refused(tmp_path: Path) -> None:
    """With both ways out."""
    with pytest.raises(ExportError, match=r"copy it there, or name the classes with --labels FILE"):
        read_metadata(tmp_path)


def test_onnx_has_the_same_as_texts(tmp_path: Path) -> None:
    """Names that are numbers stay names."""
    properties = {"task": "detect", "imgsz": "[640, 480]", "names": "{0: '绿茶', 1: '7'}", "args": "{'nms': True}"}

    metadata = metadata_of_properties(properties, tmp_path / "best.onnx")

    assert (names(metadata), metadata.size, metadata.selects) == (["绿茶", "7"], (640, 480), True)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"names": "{0: 'tea'"}, "holds no labels"),
        ({"task": "segment"}, "which answers masks"),
        ({"imgsz": "(640"}, "imgsz is"),
    ],
)
def test_onnx_properties_of_something_else_are_refused(change: dict[str, Any], complaint: str) -> None:
    """As metadata.yaml."""
    with pytest.raises(ShelflineError, match=complaint):
        metadata_of_properties({"names": "{0: 'tea'}"} | change, Path("best.onnx"))
