"""A model's contract, which is everything that a client must know to use the model, and the status of its versions.

The signature `describe` returns the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ContractError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


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

    `input_height` and `input_width` are in pixels. Boxes that the model answers with are (ymin, xmin, ymax, xmax),
    normalised to the model's input.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    input_height: int = Field(gt=0, le=8192)
    input_width: int = Field(gt=0, le=8192)
    resize: Literal["bilinear", "nearest"] = "bilinear"
    score_threshold: Fraction
    nms_iou: Fraction
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

    @property
    def label_by_id(self) -> dict[int, Label]:
        """Return the labels by id; the model's `detection_classes` are these ids."""
        return {label.id: label for label in self.labels}

    def takes_same_pixels(self, other: Contract) -> bool:
        """Return True if both contracts have the same input size and resize filter.

        An image that was prepared for the other contract can then be sent to this model unchanged.
        """
        return (self.input_height, self.input_width, self.resize) == (
            other.input_height,
            other.input_width,
            other.resize,
        )

    def to_json(self) -> str:
        """Return the contract as JSON, as the signature `describe` returns it."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a contract from JSON. Raises ContractError, which names the first invalid field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ContractError(f"The model's contract is not valid: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first invalid field of a contract and what is wrong with it, without a full stop."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]).removeprefix("contract.") or "contract"
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"


@dataclass(frozen=True)
class VersionStatus:
    """Status of one version, as GetModelStatus reports it.

    `state` is START, LOADING, AVAILABLE, UNLOADING or END. `error` is '' if the version has no error.
    """

    version: int
    state: str
    error: str
