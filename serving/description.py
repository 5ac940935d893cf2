"""What a model that does not describe itself takes and answers: a TOML file in place of the signature `describe`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.contract import Contract
from serving.errors import ContractError

BoxOrder = Literal["yxyx", "xyxy", "cxcywh", "xywh"]
"""ymin xmin ymax xmax; xmin ymin xmax ymax; centre and size; least corner and size."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RawInput(_Frozen):
    """The one input: images (N, H, W, 3), each channel minus `mean`, divided by `scale`, both in `channels`' order."""

    tensor: str = "images"
    dtype: Literal["float32", "uint8"] = "float32"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _bytes_stay_bytes(self) -> Self:
        if self.dtype == "uint8" and (any(self.mean) or set(self.scale) != {1.0}):
            raise ValueError("a uint8 input takes neither mean nor scale")
        if not all(self.scale):
            raise ValueError("scale must not be 0")
        return self


class SsdRaw(_Frozen):
    """(N, P, 4 + C + 8): offsets, scores (column 0 is background), prior (xmin, ymin, xmax, ymax), variances.

    `legacy_cy_width` decodes the centre's y with the prior's width, as ssd_keras did by mistake.
    """

    convention: Literal["ssd_raw"]
    tensor: str
    legacy_cy_width: bool = False


PLACEHOLDER = "???"
"""What label maps of the TF Object Detection API call the numbers that no class has."""

TF_OBJECT_DETECTION = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


class TfObjectDetection(_Frozen):
    """The TF Object Detection API's four outputs; a class is a label's id minus `label_offset`."""

    convention: Literal["tf_object_detection"]
    label_offset: int = 0


class BoxesScoresLabels(_Frozen):
    """Boxes (N, P, 4), scores (N, P) and labels (N, P), padded with labels that the contract has not, or with scores 0.

    A label is a label's id minus `label_offset`; `pixels` are those of the model's input.
    """

    convention: Literal["boxes_scores_labels"]
    boxes: str = "boxes"
    scores: str = "scores"
    labels: str = "labels"
    box_order: BoxOrder = "yxyx"
    box_units: Literal["normalised", "pixels"] = "normalised"
    label_offset: int = 0


class YoloRaw(_Frozen):
    """(N, P, 4 + 1 + C): box, objectness and class scores, all decoded; a score is objectness times class score.

    Column 0 of the C is the label with id `label_offset`.
    """

    convention: Literal["yolo_raw"]
    tensor: str
    box_order: BoxOrder = "cxcywh"
    box_units: Literal["normalised", "pixels"] = "normalised"
    label_offset: int = 0


Output = Annotated[SsdRaw | TfObjectDetection | BoxesScoresLabels | YoloRaw, Field(discriminator="convention")]


class Description(_Frozen):
    """A model's contract, and how its `signature` is called and read. An `nms_iou` of 1 leaves every overlap in."""

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
        """The tensors that are read of the model's answer."""
        if isinstance(self.output, SsdRaw | YoloRaw):
            return (self.output.tensor,)
        if isinstance(self.output, BoxesScoresLabels):
            return (self.output.boxes, self.output.scores, self.output.labels)
        return TF_OBJECT_DETECTION


def read_description(path: Path) -> Description:
    """Read a TOML file: the contract's fields at the top, `[input]` and `[output]`.

    `labels` is a list of names, numbered from 0, or of tables (id, name, root), or a file of a name a line, relative
    to the TOML file; `weights_sha256` may be left out. With `ssd_raw` name 0 is the background and no label. No name
    stands twice but `PLACEHOLDER`. Raises ContractError, in one line.
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
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]).removeprefix("contract.")
        raise ContractError(f"{path}: {where}: {first['msg']}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ContractError(f"{path} is not a TOML file as it should be: {error}.") from error
    except OSError as error:
        raise ContractError(f"Cannot read {error.filename or path}: {error.strerror}.") from error
    _refuse_twins(description.contract, path)
    return description


def _refuse_twins(contract: Contract, path: Path) -> None:
    """A name that stands twice is a line copied once too often, after which every label is its neighbour's."""
    seen: dict[str, int] = {}
    for label in contract.labels:
        if label.name != PLACEHOLDER and label.name in seen:
            raise ContractError(
                f"{path}: labels: {label.name!r} stands for {seen[label.name]} and for {label.id}: "
                f"name each class once, and {PLACEHOLDER!r} what the model never answers."
            )
        seen[label.name] = label.id


def _labels(names: list[Any], *, background: bool) -> list[Any]:
    numbered = [name if isinstance(name, dict) else {"id": number, "name": name} for number, name in enumerate(names)]
    return [label for label in numbered if not (background and label.get("id") == 0)]
