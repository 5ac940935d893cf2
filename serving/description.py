"""Inputs and outputs of a model without the signature `describe`; a TOML file describes such a model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, model_validator

from serving.contract import Contract, FrozenModel, first_problem
from serving.conventions import BoxesClassScores, Output, YoloRaw, YoloV8
from serving.errors import ContractError
from serving.label_files import first_id, read_label_file, refuse_twins
from serving.utf8_files import read_utf8

UNKNOWN: Final = "?"
"""Stands in a draft of a contract for a value that could not be told."""


class ConstantInput(FrozenModel):
    """An input that is the same in each call. `value` is a number or nested lists of numbers.

    If `per_image` is True, the tensor has the value once for each image of the batch, along a new first axis.
    """

    tensor: str
    dtype: Literal["float32", "float64", "int32", "int64", "uint8", "bool"] = "float32"
    value: Any
    per_image: bool = False

    @model_validator(mode="after")
    def _has_a_shape(self) -> Self:
        try:
            numbers = np.asarray(self.value)
            fits = numbers.dtype.kind in "biuf" and np.allclose(numbers, self.array(), rtol=1e-6, atol=0)
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            raise ValueError(
                f"the value of {self.tensor} is no array of {self.dtype}: give numbers, in lists of the same length"
            )
        return self

    def array(self) -> NDArray[Any]:
        """Return the value as an array of `dtype`, without the axis of `per_image`."""
        return np.asarray(self.value).astype(self.dtype)


class RawInput(FrozenModel):
    """The model's input: images (N, H, W, 3) of `dtype`, channels in the order `channels`.

    With the layout `nchw`, images are (N, 3, H, W). A pixel value is (value - mean) / scale for each channel. `mean`
    and `scale` are in the order of `channels`. `constants` are the model's other inputs.
    """

    tensor: str = "images"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: Literal["float32", "uint8"] = "float32"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    constants: tuple[ConstantInput, ...] = ()

    @model_validator(mode="after")
    def _bytes_stay_bytes(self) -> Self:
        if self.dtype == "uint8" and (any(self.mean) or set(self.scale) != {1.0}):
            raise ValueError("a uint8 input takes neither mean nor scale: leave them out, or set dtype to float32")
        if not all(self.scale):
            raise ValueError("scale must not be 0: pixels are divided by it")
        return self

    @model_validator(mode="after")
    def _inputs_are_distinct(self) -> Self:
        names = [self.tensor, *(constant.tensor for constant in self.constants)]
        if len(set(names)) != len(names):
            raise ValueError("two inputs have the same name: name the images and each constant once")
        return self


class Description(FrozenModel):
    """A model's contract, with the input and outputs of its `signature`. An `nms_iou` of 1 turns NMS off."""

    contract: Contract
    signature: str = "serving_default"
    input: RawInput = RawInput()
    output: Output

    @model_validator(mode="after")
    def _columns_are_scores(self) -> Self:
        first, output = min(label.id for label in self.contract.labels), self.output
        if isinstance(output, YoloRaw | YoloV8 | BoxesClassScores) and first < output.label_offset:
            raise ValueError(f"label_offset {output.label_offset} is above the lowest label's id, {first}")
        return self

    def named(self, name: str, weights_sha256: str) -> Self:
        """Return the same description of a model with this name and this sha256 of its weights."""
        contract = self.contract.model_copy(update={"name": name, "weights_sha256": weights_sha256})
        return self.model_copy(update={"contract": contract})

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the output tensors that the client reads."""
        return self.output.tensors

    @property
    def image_shape(self) -> tuple[None, int, int, int]:
        """Return the shape of the model's images, with an open batch: (None, H, W, 3), or (None, 3, H, W)."""
        height, width = self.contract.input_height, self.contract.input_width
        return (None, 3, height, width) if self.input.layout == "nchw" else (None, height, width, 3)


def read_description(path: Path) -> Description:
    """Read a description from a TOML file: the contract's fields at the top, then `[input]` and `[output]`.

    `labels` is a list of names with ids from 0, a list of tables (id, name, root), or the path of a file of labels (see
    `read_label_file`). The path is relative to the TOML file. With `ssd_raw`, id 0 is the background and is not a
    label. With `tf_object_detection` and no `label_offset`, names without ids get ids from 1, as the classes of such
    models have; see `first_id`. `weights_sha256` may be left out. Only the name `PLACEHOLDER` may occur more than once.

    Raises ContractError with a message of one line if the file cannot be read or is invalid.
    """
    try:
        fields = tomllib.loads(read_utf8(path))
        rest: dict[str, Any] = {key: fields.pop(key) for key in ("signature", "input", "output") if key in fields}
        _refuse_unknown(path, {**fields, **rest})
        names = fields.get("labels")
        if isinstance(names, str | list):
            fields["labels"] = _labels(names, rest.get("output", {}), path)
        description = Description.model_validate({"contract": {"weights_sha256": "0" * 64, **fields}, **rest})
    except ValidationError as error:
        raise ContractError(f"{path}: {first_problem(error)}.") from error
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise ContractError(f"{path} is not a TOML file as docs/export.md describes it: {error}.") from error
    refuse_twins(description.contract.labels, f"{path}: labels")
    return description


def _refuse_unknown(path: Path, fields: Mapping[str, Any], section: str = "") -> None:
    """Raise ContractError for the first key whose value is UNKNOWN."""
    for key, value in fields.items():
        if value == UNKNOWN:
            raise ContractError(
                f'{path}: {section}{key} is "{UNKNOWN}", since `shelfline export inspect` could not tell it: give a '
                "value; the comment above it says which."
            )
        if isinstance(value, dict):
            _refuse_unknown(path, value, f"{key}.")


def _labels(names: str | list[Any], output: dict[str, Any], path: Path) -> list[Any]:
    """Give the names of a list or a file their ids; tables have their own. The background of `ssd_raw` is no label.

    `path` is the TOML file. Raises ContractError if a class has the id 0 where the model's classes begin with 1.
    """
    from_1 = output.get("convention") == "tf_object_detection" and "label_offset" not in output
    if isinstance(names, str):
        numbered: list[Any] = [label.model_dump() for label in read_label_file(path.parent / names, from_1=from_1)]
    else:
        first = first_id(names[0] if names else None, from_1=from_1)
        numbered = [
            name if isinstance(name, dict) else {"id": number, "name": name} for number, name in enumerate(names, first)
        ]
    for label in numbered:
        if from_1 and label.get("id") == 0 and first_id(label.get("name"), from_1=True):
            raise ContractError(
                f"{path}: labels: {label.get('name')!r} has the id 0, but in tf_object_detection classes begin at 1: "
                "number the labels from 1, or set label_offset (0 if the model's classes begin with 0, else -1)."
            )
    return [label for label in numbered if not (output.get("convention") == "ssd_raw" and label.get("id") == 0)]
