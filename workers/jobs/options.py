"""The options of a job, and the model or version that it asks for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

from serving.boxes.tiles import Grid

Lane = Literal["interactive", "bulk"]

_AUTO_ROWS = 9  # an image's, until some of its job are done: a photo of some megapixels makes 5 to 21


@dataclass(frozen=True)
class JobOptions:
    """What the caller asked for. `min_score` in 0..1 and `max_detections` only narrow what the model answers.

    Without a `model_version` each image goes through the newest one there is at its turn. `priority` names the lane;
    without it a small job is interactive. `tiles` is off, auto, or a grid as in 2x3, rows by columns; its tiles overlap
    by `overlap`, a part of a tile's side. A job with a `max_failure_rate`, 0..1, is given up when more than that fails.
    With `cache` a result is taken that was made before of the same bytes, by the same version, under the same options.
    """

    model: str
    min_score: float | None = None
    max_detections: int | None = None
    model_version: int | None = None
    priority: Lane | None = None
    tiles: str = "off"
    overlap: float = 0.2
    max_failure_rate: float | None = None
    cache: bool = False

    @property
    def grid(self) -> Grid | None:
        """The grid of tiles that was asked for; None where there is none, or it depends on the image."""
        return None if self.tiles in {"off", "auto"} else Grid.parse(self.tiles)

    @property
    def rows_guess(self) -> int:
        """How many rows of the model an image makes, as far as one can tell before it is decoded."""
        if self.tiles == "auto":
            return _AUTO_ROWS
        return 1 if self.grid is None else self.grid.tiles + 1

    @property
    def target(self) -> str:
        """What its images queue for, since a batch is one version's: the model, or `model@version`."""
        return self.model if self.model_version is None else f"{self.model}@{self.model_version}"

    def to_json(self) -> str:
        """The options as they are stored with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def rows_each(guess: str | None, rows: str | None, images: str | None) -> float:
    """How many rows an image of a job makes: its guess, or what those made that are done. As in lib/lanes.lua."""
    return max(1.0, int(rows) / int(images)) if guess and rows and images else float(guess or 1)


def parse_target(target: str) -> tuple[str, int | None]:
    """The model and the version that a JobOptions.target names."""
    model, _, version = target.partition("@")
    return model, int(version) if version else None
