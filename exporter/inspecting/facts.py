"""What is known of a model before its outputs are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serving.contract import Label

Command = Literal["savedmodel", "keras"]


@dataclass(frozen=True)
class TensorFacts:
    """An input or output of a model. Sizes that are open are None; `shape` is None if even the rank is open."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        """Return name, dtype and shape as text."""
        if self.shape is None:
            return f"{self.name} {self.dtype} of any shape"
        sizes = ["N" if not place and size is None else str(size or "?") for place, size in enumerate(self.shape)]
        return f"{self.name} {self.dtype} ({', '.join(sizes)})"


@dataclass(frozen=True)
class SignatureFacts:
    """A signature of a SavedModel; a Keras model is described as one signature without a name."""

    name: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


@dataclass(frozen=True)
class Finding:
    """A key of the contract, its value or UNKNOWN, and why. `section` is '', 'input' or 'output'."""

    section: Literal["", "input", "output"]
    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Hints:
    """What files say of a model: in it, or beside it.

    `labels` come from the file `labels_file`. `findings` are keys of the contract that are certain.
    """

    labels: tuple[Label, ...] = ()
    labels_file: Path | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """What a model is: its kind in words, the command that exports it, its signatures and its hints."""

    path: Path
    kind: str
    command: Command
    signatures: tuple[SignatureFacts, ...]
    hints: Hints

    @property
    def signature(self) -> SignatureFacts:
        """Return the signature to wrap: `serving_default`, or else the first."""
        return next((each for each in self.signatures if each.name == "serving_default"), self.signatures[0])
