"""A model's contract, which is everything that a client must know to use the model, and the status of its versions.

The signature `describe` returns the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ContractError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Byte = Annotated[int, Field(ge=0, le=255)]

_OF_LETTERBOX: Final = ("pad_colour", "align", "upscale")
_OF_PIXELS: Final = {"input_height", "input_width", "resize", "antialias", "resize_mode", *_OF_LETTERBOX}
_LEFT_OUT_AT_DEFAULT: Final = ("antialias", "resize_mode", *_OF_LETTERBOX, "nms", "clip", "thresholds")
"""Fields that Shelfline 0.2 does not know. It refuses a contract with a field that it does not know."""


_WARMUP_ROWS: Final = (1, 2, 4, 8)


class FrozenModel(BaseModel):
    """A record that cannot be changed, without other fields than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Label(FrozenModel):
    """One class: the id that the model answers with, its name, and its category path (empty where there is none)."""

    id: int = Field(ge=0)
    name: str = Field(min_length=1)
    root: str = ""


class Contract(FrozenModel):
    """What a model takes, what it answers, and what its answers mean.

    Boxes that the model answers with are (ymin, xmin, ymax, xmax), normalised to the model's input, padding included.

    The input is an image of `input_height` x `input_width` pixels, made of the photo:

    - `resize`: the filter. `antialias`: True for Pillow's filters, which average when they reduce (`area` is Pillow's
      BOX). False for those of OpenCV's `cv2.resize`, which sample (`area` is INTER_AREA, `lanczos` INTER_LANCZOS4).
    - `resize_mode`: `stretch` fills the input. `letterbox` keeps the aspect ratio and pads with `pad_colour` (RGB); the
      photo is in the centre or at the top left (`align`), and is enlarged only if `upscale` is True.

    The detections are selected from the model's boxes:

    - `score_threshold`: a detection's score is above it. `thresholds`: the same for single labels, by name.
    - `nms`: suppress overlaps within each class, among all classes (`agnostic`), or not at all (`none`, if the model
      has done it). `nms_iou`: the IoU above which boxes overlap; with `none` it is used only to merge tiles.
    - `clip`: clip boxes to the input `before` or `after` overlaps are suppressed.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    input_height: int = Field(gt=0, le=8192)
    input_width: int = Field(gt=0, le=8192)
    resize: Literal["bilinear", "bicubic", "area", "lanczos", "nearest"] = "bilinear"
    antialias: bool = True
    resize_mode: Literal["stretch", "letterbox"] = "stretch"
    pad_colour: tuple[Byte, Byte, Byte] = (114, 114, 114)
    align: Literal["centre", "top_left"] = "centre"
    upscale: bool = True
    score_threshold: Fraction
    thresholds: dict[str, Fraction] = Field(default={})
    nms: Literal["per_class", "agnostic", "none"] = "per_class"
    nms_iou: Fraction
    clip: Literal["before", "after"] = "before"
    max_detections: int = Field(gt=0, le=10_000)
    max_batch_rows: int = Field(default=16, gt=0, le=1024)
    labels: tuple[Label, ...] = Field(min_length=1)
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    provenance: str = ""

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        ids = [label.id for label in self.labels]
        if len(set(ids)) != len(ids):
            raise ValueError("two labels have the same id: give each class its own")
        return self

    @model_validator(mode="after")
    def _padding_is_of_a_letterbox(self) -> Self:
        for name in _OF_LETTERBOX:
            if self.resize_mode != "letterbox" and not self._is_default(name):
                raise ValueError(f'{name} is for a letterbox: set resize_mode to "letterbox", or leave {name} out')
        return self

    @model_validator(mode="after")
    def _thresholds_are_of_labels(self) -> Self:
        if unknown := sorted(set(self.thresholds) - {label.name for label in self.labels}):
            raise ValueError(f"thresholds: no label is called {unknown[0]!r}: give names as labels has them")
        return self

    @property
    def label_by_id(self) -> dict[int, Label]:
        """Return the labels by id; the model's `detection_classes` are these ids."""
        return {label.id: label for label in self.labels}

    @property
    def threshold_by_id(self) -> dict[int, float]:
        """Return the score that a detection's score must be above, by the id of its label."""
        return {label.id: self.thresholds.get(label.name, self.score_threshold) for label in self.labels}

    @property
    def lowest_threshold(self) -> float:
        """Return the lowest threshold of all labels. No detection has this score or less."""
        return min(self.threshold_by_id.values())

    def takes_same_pixels(self, other: Contract) -> bool:
        """Return True if both contracts make the same input of any photo, by size, filter and padding.

        An image that was prepared for the other contract can then be sent to this model unchanged.
        """
        return self.model_dump(include=_OF_PIXELS) == other.model_dump(include=_OF_PIXELS)

    def to_json(self) -> str:
        """Return the contract as JSON, as the signature `describe` returns it.

        Newer fields are left out if they have their defaults. So an older Shelfline reads the contract of each model
        that it can serve, and refuses the others.
        """
        return self.model_dump_json(exclude={name for name in _LEFT_OUT_AT_DEFAULT if self._is_default(name)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a contract from JSON. Raises ContractError, which names the first invalid field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ContractError(f"The model's contract is not valid: {first_problem(error)}{_age(error)}") from error

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == type(self).model_fields[name].default)


def _age(error: ValidationError) -> str:
    """Return what to do about a field or a value that this version does not know, or ''."""
    if error.errors()[0]["type"] not in {"extra_forbidden", "literal_error"}:
        return ""
    return ". A newer Shelfline exported the model: update Shelfline here, or export the model with this version"


def first_problem(error: ValidationError) -> str:
    """Return the first invalid field of a contract and what is wrong with it, without a full stop."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]).removeprefix("contract.") or "contract"
    if first["type"] == "tuple_type":
        return f"{field}: it must be a list in square brackets"
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"


@dataclass(frozen=True)
class VersionStatus:
    """Status of one version, as GetModelStatus reports it.

    `state` is START, LOADING, AVAILABLE, UNLOADING or END. `error` is '' if the version has no error.
    """

    version: int
    state: str
    error: str


def warmup_rows(contract: Contract) -> tuple[int, ...]:
    """Return the rows of each warm-up record of `detect` that an export has: none has more than `max_batch_rows`."""
    return tuple(rows for rows in _WARMUP_ROWS if rows <= contract.max_batch_rows)
