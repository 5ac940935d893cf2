from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.graph.box_checks import check_boxes
from serving.description import Description, read_description

YOLO = """
name = "shop"
input_height = 320
input_width = 640
score_threshold = 0.25
nms_iou = 0.5
max_detections = 10
labels = ["tea", "rice"]
[output]
convention = "yolo_raw"
tensor = "boxes"
box_order = "{order}"
box_units = "{units}"
"""
THREE = YOLO.replace('"yolo_raw"', '"boxes_scores_labels"').replace('tensor = "boxes"\n', "")
TF = YOLO.partition("[output]")[0] + '[output]\nconvention = "tf_object_detection"'
HEAD = THREE.replace("boxes_scores_labels", "boxes_class_scores")
SSD = YOLO.partition("[output]")[0] + '[output]\nconvention = "ssd_raw"\ntensor = "raw"'


def boxes(order: str, units: str) -> NDArray[np.float32]:
    """Two images of 50 boxes of 10 to 40 % of a side, (2, 50, 4)."""
    random = np.random.default_rng(0)
    sides, centres = random.uniform(0.1, 0.4, (2, 50, 2)), random.uniform(0.2, 0.8, (2, 50, 2))
    low, high = centres - sides / 2, centres + sides / 2
    columns = {"y": (low[..., 0], high[..., 0]), "x": (low[..., 1], high[..., 1])}
    scale = {"y": 320.0, "x": 640.0} if units == "pixels" else {"y": 1.0, "x": 1.0}
    (ymin, ymax), (xmin, xmax) = ((a * scale[side], b * scale[side]) for side, (a, b) in columns.items())
    stacked = {
        "yxyx": (ymin, xmin, ymax, xmax),
        "xyxy": (xmin, ymin, xmax, ymax),
        "xywh": (xmin, ymin, xmax - xmin, ymax - ymin),
        "cxcywh": ((xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin),
    }[order]
    return np.stack(stacked, -1).astype(np.float32)


def described(folder: Path, text: str, order: str = "xyxy", units: str = "pixels") -> Description:
    """The description of a TOML text."""
    (folder / "contract.toml").write_text(text.format(order=order, units=units))
    return read_description(folder / "contract.toml")


def yolo(order: str, units: str) -> dict[str, NDArray[Any]]:
    """What a YOLO answers, with scores of all sizes."""
    scores = np.random.default_rng(1).uniform(0, 1, (2, 50, 3)).astype(np.float32)
    return {"boxes": np.concatenate([boxes(order, units), scores], -1)}


def three(order: str, units: str) -> dict[str, NDArray[Any]]:
    """What a model with its own NMS answers."""
    return {"boxes": boxes(order, units), "scores": np.full((2, 50), 0.5), "labels": np.zeros((2, 50))}


@pytest.mark.parametrize("units", ["normalised", "pixels"])
@pytest.mark.parametrize("order", ["yxyx", "xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize(("text", "answers"), [(YOLO, yolo), (THREE, three)])
def test_what_is_described_rightly_passes(tmp_path: Path, text: str, answers: Any, order: str, units: str) -> None:
    """Whatever its units and order."""
    check_boxes([answers(order, units)], described(tmp_path, text, order, units))


@pytest.mark.parametrize(("text", "answers"), [(YOLO, yolo), (THREE, three)])
@pytest.mark.parametrize(
    ("model", "contract", "problem", "advice"),
    [
        (("xyxy", "normalised"), ("xyxy", "pixels"), "all smaller than 2 pixels", 'try box_units = "normalised"'),
        (("cxcywh", "normalised"), ("cxcywh", "pixels"), "all smaller than 2 pixels", 'try box_units = "normalised"'),
        (("xyxy", "pixels"), ("xyxy", "normalised"), "times the size of the image", 'try box_units = "pixels"'),
        (("cxcywh", "pixels"), ("cxcywh", "normalised"), "times the size of the image", 'try box_units = "pixels"'),
        (("cxcywh", "pixels"), ("xyxy", "pixels"), "end before they begin", "box_order = "),
        (("cxcywh", "normalised"), ("yxyx", "normalised"), "end before they begin", 'box_order = "cxcywh"'),
    ],
)
def test_what_cannot_be_boxes_is_refused(
    tmp_path: Path,
    text: str,
    answers: Any,
    model: tuple[str, str],
    contract: tuple[str, str],
    problem: str,
    advice: str,
) -> None:
    """In one line that says which value to try."""
    with pytest.raises(ExportError) as refused:
        check_boxes([answers(*model)], described(tmp_path, text, *contract))
    assert problem in str(refused.value)
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_tf_object_detection_convention_has_no_units(tmp_path: Path) -> None:
    """Its boxes are normalised; another convention takes pixels."""
    answers = {
        "detection_boxes": boxes("yxyx", "pixels"),
        "detection_scores": np.full((2, 50), 0.5),
        "detection_classes": np.ones((2, 50)),
        "num_detections": np.full(2, 50),
    }

    with pytest.raises(ExportError, match='try convention = "boxes_scores_labels" with box_units = "pixels"'):
        check_boxes([answers], described(tmp_path, TF))
    check_boxes([answers | {"detection_boxes": boxes("yxyx", "normalised")}], described(tmp_path, TF))


def test_nothing_is_said_of_what_is_not_there(tmp_path: Path) -> None:
    """A model that finds nothing in the samples fills up with zeros; NaN and infinity are left out."""
    nothing = three("xyxy", "normalised")
    nothing["scores"][:] = 0
    check_boxes([nothing], described(tmp_path, THREE))

    broken = yolo("xyxy", "pixels")
    broken["boxes"][:, ::2, :4] = np.nan
    broken["boxes"][:, 1::4, 0] = np.inf
    check_boxes([broken], described(tmp_path, YOLO))


def test_priors_that_reach_nowhere_are_refused(tmp_path: Path) -> None:
    """Of an SSD, where no value of the contract would help."""
    raw = np.zeros((1, 20, 4 + 2 + 8), np.float32)
    raw[..., 4:6] = 0.5
    raw[..., -8:] = (0.4, 0.4, 0.6, 0.6, 0.1, 0.1, 0.2, 0.2)
    check_boxes([{"raw": raw}], described(tmp_path, SSD))
    raw[..., -8:-4] *= 300

    with pytest.raises(ExportError, match="check that the convention is the model's"):
        check_boxes([{"raw": raw}], described(tmp_path, SSD))


@pytest.mark.parametrize(
    ("activation", "scores", "advice"),
    [
        ("none", (-3.0, 3.0), '.*, or try activation = "sigmoid" or "softmax"\\.'),
        ("sigmoid", (-30.0, 30.0), ""),
    ],
)
def test_logits_are_refused_where_they_are_not_described(
    tmp_path: Path, activation: str, scores: tuple[float, float], advice: str
) -> None:
    """They would be found out in production."""
    answers = {
        "boxes": boxes("xyxy", "pixels"),
        "scores": np.random.default_rng(0).uniform(*scores, (2, 50, 2)).astype(np.float32),
    }
    description = described(tmp_path, f'{HEAD}activation = "{activation}"')

    if not advice:
        check_boxes([answers], description)
        return
    with pytest.raises(ExportError, match=f"not within 0..1: the model must answer probabilities{advice}"):
        check_boxes([answers], description)


def test_a_score_that_is_none_is_refused_of_any_convention(tmp_path: Path) -> None:
    """Here an objectness."""
    answers = yolo("xyxy", "pixels")
    answers["boxes"][1, 7, 4] = 7.5

    with pytest.raises(ExportError, match=r"not within 0..1: the model must answer probabilities, not logits\.$"):
        check_boxes([answers], described(tmp_path, YOLO))
