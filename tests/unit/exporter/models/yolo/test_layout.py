from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.yolo.layout import tell_output
from exporter.models.yolo.metadata import YoloMetadata
from serving.contract import Label
from serving.conventions import EndToEnd, YoloRaw, YoloV8

SIZE = (64, 128)  # height, width
CELLS = 8 * 16 + 4 * 8 + 2 * 4  # of the strides 8, 16 and 32


def metadata(classes: int, *, selects: bool | None = None) -> YoloMetadata:
    labels = tuple(Label(id=number, name=f"product-{number}") for number in range(classes))
    return YoloMetadata(labels, Path("metadata.yaml"), Path("metadata.yaml"), selects=selects)


def grid(boxes: int, columns: int, *, units: str = "pixels") -> NDArray[np.float32]:
    """Boxes (1, P, columns) with centres all over the input, and scores."""
    random = np.random.default_rng(0)
    raw = random.uniform(0, 1, (1, boxes, columns))
    raw[..., 2:4] *= 0.2
    if units == "pixels":
        raw[..., :4] *= np.resize(SIZE[::-1], 4)
    return raw.astype(np.float32)


def selected(boxes: int, *, units: str = "pixels", count: int = 5) -> NDArray[np.float32]:
    """Detections (1, K, 6), of which `count` are no padding."""
    raw = np.zeros((1, boxes, 6), np.float32)
    corners = np.sort(np.random.default_rng(0).uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    raw[0, :count, :4] = corners * (np.resize(SIZE[::-1], 4) if units == "pixels" else 1)
    raw[0, :count, 4] = 0.5
    return raw


@pytest.mark.parametrize("units", ["pixels", "normalised"])
@pytest.mark.parametrize("classes", [1, 2, 3, 80])
@pytest.mark.parametrize("layout", ["yolo_v5", "yolo_v8", "transposed", "end_to_end"])
@pytest.mark.parametrize("strides", ["8 to 32", "8 to 64", "4 to 32"])
def test_layout_and_units_are_told(layout: str, classes: int, units: Any, strides: str) -> None:
    """With 1 and 2 classes too, where 5 + C and 4 + C are as wide as the six columns of selected detections."""
    cells = {"8 to 32": CELLS, "8 to 64": CELLS + 2, "4 to 32": CELLS + 16 * 32}[strides]
    answer, expected = {
        "yolo_v5": (
            grid(3 * cells, 5 + classes, units=units),
            YoloRaw(convention="yolo_v5", tensor="x", box_units=units),
        ),
        "yolo_v8": (
            grid(cells, 4 + classes, units=units).swapaxes(1, 2),
            YoloV8(convention="yolo_v8", tensor="x", boxes_axis=2, box_units=units),
        ),
        "transposed": (
            grid(cells, 4 + classes, units=units),
            YoloV8(convention="yolo_v8", tensor="x", boxes_axis=1, box_units=units),
        ),
        "end_to_end": (selected(300, units=units), EndToEnd(convention="end_to_end", tensor="x", box_units=units)),
    }[layout]

    assert tell_output([{"x": answer}], metadata(classes), SIZE) == expected


def test_unknown_strides_are_no_hindrance() -> None:
    """Where the columns alone tell the layout."""
    output = tell_output([{"x": grid(100, 4 + 80).swapaxes(1, 2)}], metadata(80), SIZE)

    assert isinstance(output, YoloV8)


def test_the_model_s_word_decides() -> None:
    """Of an answer that may be two things."""
    raw = selected(300)

    assert isinstance(tell_output([{"x": raw}], metadata(2, selects=True), SIZE), EndToEnd)
    with pytest.raises(ExportError, match="cannot be told"):  # read as centres, they are in no unit
        tell_output([{"x": raw}], metadata(2, selects=False), SIZE)


@pytest.mark.parametrize(
    ("answer", "classes", "selects", "complaint"),
    [
        (grid(CELLS, 84).swapaxes(1, 2), 3, None, r"\(N, 84, 168\), that is 80 classes, but metadata.yaml has 3 names"),
        (grid(CELLS, 84).swapaxes(1, 2), 79, None, "that is 80 classes, but metadata.yaml has 79 names"),
        (grid(CELLS, 84), 79, None, "that is 80 classes, but metadata.yaml has 79 names"),
        (grid(3 * CELLS, 85), 81, None, "that is 80 classes, but metadata.yaml has 81 names"),
        (grid(3 * CELLS, 85), 3, None, "that is 80 classes, but metadata.yaml has 3 names"),
        (grid(CELLS, 85), 80, None, "that is 81 classes, but metadata.yaml has 80 names.*another family"),
        (grid(300, 7), 1, None, "that is 3 classes, but metadata.yaml has 1 names"),
        (grid(CELLS, 84).swapaxes(1, 2), 80, True, "says that it selects its detections, which would be"),
    ],
)
def test_another_number_of_classes_is_refused(answer: NDArray[Any], classes: int, selects: Any, complaint: str) -> None:
    """A name more or less would shift every label, or make objectness of a class."""
    with pytest.raises(ExportError, match=complaint):
        tell_output([{"x": answer}], metadata(classes, selects=selects), SIZE)


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ({"x": grid(CELLS, 37).swapaxes(1, 2), "y": np.zeros((1, 16, 32, 32))}, "it segments"),
        ({"x": np.zeros((1, 100, 4)), "y": np.zeros((1, 100))}, "If YOLOv5 wrote it with --nms"),
        ({"x": np.zeros((1, 1000))}, "not the boxes of a detector"),
        ({"x": grid(CELLS, 5) * 50}, "95 % of the centres are within"),
        ({"x": grid(CELLS, 5, units="normalised") * 0.1}, r"95 % of the centres are within 0\.09"),
        ({"x": grid(CELLS, 5) * np.nan}, "no centre is a number"),
        ({"x": selected(300, count=0)}, "the model finds 0 in sample images: name with --images a folder"),
        ({"x": selected(300, count=2)}, "the model finds 2"),
    ],
)
def test_what_cannot_be_told_is_an_error(outputs: dict[str, NDArray[Any]], complaint: str) -> None:
    """In one line that says what to do."""
    with pytest.raises(ExportError, match=complaint) as refused:
        tell_output([outputs], metadata(1), SIZE)
    assert "\n" not in str(refused.value)
