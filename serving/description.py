"""Inputs and outputs of a model without the signature `describe`; a TOML file describes such a model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from serving.contract import Contract, FrozenModel, first_problem
from serving.errors import ContractError

BoxOrder = Literal["yxyx", "xyxy", "cxcywh", "xywh"]
"""Order of a box's four numbers.

`yxyx`: ymin, xmin, ymax, xmax. `xyxy`: xmin, ymin, xmax, ymax. `cxcywh`: centre x, centre y, width, height.
`xywh`: xmin, ymin, width, height.
"""


class RawInput(FrozenModel):
    """The model's only input: images (N, H, W, 3) of `dtype`, channels in the order `channels`.

    A pixel value is (value - mean) / scale for each channel. `mean` and `scale` are in the order of `channels`.
    """

    tensor: str = "images"
    dtype: Literal["float32", "uint8"] = "float32"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _bytes_stay_bytes(self) -> Self:
        if self.dtype == "uint8" and (any(self.mean) or set(self.scale) != {1.0}):
            raise ValueError("a uint8 input takes neither mean nor scale: leave them out, or set dtype to float32")
        if not all(self.scale):
            raise ValueError("scale must not be 0: pixels are divided by it")
        return self


class SsdRaw(FrozenModel):
    """Raw SSD output (N, P, 4 + C + 8), as rykov8/ssd_keras writes it.

    The last axis holds 4 offsets, C class scores (column 0 is the background), the prior (xmin, ymin, xmax, ymax,
    normalised) and 4 variances. `legacy_cy_width` decodes the y of the centre with the prior's width instead of its
    height; ssd_keras does so by mistake.
    """

    convention: Literal["ssd_raw"]
    tensor: str
    legacy_cy_width: bool = False


PLACEHOLDER = "???"
"""Name that label maps of the TF Object Detection API give to ids without a class."""

TF_OBJECT_DETECTION = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


class TfObjectDetection(FrozenModel):
    """The four outputs of the TF Object Detection API. `detection_classes` holds label id minus `label_offset`."""

    convention: Literal["tf_object_detection"]
    label_offset: int = 0


class BoxesScoresLabels(FrozenModel):
    """Outputs of decoded boxes (N, P, 4), scores (N, P) and labels (N, P).

    A value of the labels output is a label id minus `label_offset`. Padding has a score of 0 or a label that the
    contract does not contain. With `box_units` `pixels`, boxes are in pixels of the model's input.
    """

    convention: Literal["boxes_scores_labels"]
    boxes: str = "boxes"
    scores: str = "scores"
    labels: str = "labels"
    box_order: BoxOrder = "yxyx"
    box_units: Literal["normalised", "pixels"] = "normalised"
    label_offset: int = 0


class YoloRaw(FrozenModel):
    """Decoded YOLO output (N, P, 4 + 1 + C): box, objectness and C class scores.

    The score of a detection is objectness times class score. The first class column is the label with id
    `label_offset`. With `box_units` `pixels`, boxes are in pixels of the model's input.
    """

    convention: Literal["yolo_raw"]
    tensor: str
    box_order: BoxOrder = "cxcywh"
    box_units: Literal["normalised", "pixels"] = "normalised"
    label_offset: int = 0


Output = Annotated[SsdRaw | TfObjectDetection | BoxesScoresLabels | YoloRaw, Field(discriminator="convention")]


class Description(FrozenModel):
    """A model's contract, with the input and outputs of its `signature`. An `nms_iou` of 1 turns NMS off."""

    contract: Contract
    signature: str = "serving_default"
    input: RawInput = RawInput()
    output: Output

    @model_validator(mode="after")
    def _columns_are_scores(self) -> Self:
        first = min(label.id for label in self.contract.labels)
        if isinstance(self.output, YoloRaw) and first < self.output.label_offset:
            raise ValueError(f"label_offset {self.output.label_offset} is above the lowest label's id, {first}")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the output tensors that the client reads."""
        if isinstance(self.output, SsdRaw | YoloRaw):
            return (self.output.tensor,)
        if isinstance(self.output, BoxesScoresLabels):
            return (self.output.boxes, self.output.scores, self.output.labels)
        return TF_OBJECT_DETECTION


def read_description(path: Path) -> Description:
    """Read a description from a TOML file: the contract's fields at the top, then `[input]` and `[output]`.

    `labels` is a list of names with ids from 0, a list of tables (id, name, root), or the path of a file with one name
    per line. The path is relative to the TOML file. With `ssd_raw`, id 0 is the background and is not a label.
    `weights_sha256` may be left out. Only the name `PLACEHOLDER` may occur more than once.

    Raises ContractError with a message of one line if the file cannot be read or is invalid.
    """
    try:
        fields = tomllib.loads(path.read_text("utf-8"))
        rest = {key: fields.pop(key) for key in ("signature", "input", "output") if key in fields}
        names = fields.get("labels")
        if isinstance(names, str):
            names = [line.strip() for line in (path.parent / names).read_text("utf-8-sig").splitlines()]
        if isinstance(names, list):
            fields["labels"] = _labels(names, background=rest.get("output", {}).get("convention") == "ssd_raw")
        description = Description.model_validate({"contract": {"weights_sha256": "0" * 64, **fields}, **rest})
    except ValidationError as error:
        raise ContractError(f"{path}: {first_problem(error)}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ContractError(f"{path} is not a TOML file as docs/export.md describes it: {error}.") from error
    except OSError as error:
        raise ContractError(f"Cannot read {error.filename or path}: {error.strerror}.") from error
    _refuse_twins(description.contract, path)
    return description


def _refuse_twins(contract: Contract, path: Path) -> None:
    """Raise ContractError if two labels have the same name.

    A duplicate is usually a line that was copied twice; every label after it would then have the wrong id.
    """
    seen: dict[str, int] = {}
    for label in contract.labels:
        if label.name != PLACEHOLDER and label.name in seen:
            raise ContractError(
                f"{path}: labels: {label.name!r} stands for {seen[label.name]} and for {label.id}: "
                f"name each class once, and give ids without a class the name {PLACEHOLDER!r}."
            )
        seen[label.name] = label.id


def _labels(names: list[Any], *, background: bool) -> list[Any]:
    numbered = [name if isinstance(name, dict) else {"id": number, "name": name} for number, name in enumerate(names)]
    return [label for label in numbered if not (background and label.get("id") == 0)]
