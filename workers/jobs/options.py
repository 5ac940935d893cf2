"""The options of a job, and the model or version that it asks for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

from serving.boxes.tiles import Grid

Lane = Literal["interactive", "bulk"]
VersionFallback = Literal["latest"]

_AUTO_ROWS = 9  # rows per image, assumed until some of the job are done: a photo of some megapixels makes 5 to 21


@dataclass(frozen=True)
class JobOptions:
    """What the caller asked for. `min_score` (0..1) and `max_detections` can only narrow the model's answer.

    Without a `model_version` each image is processed by the newest version at its turn. If the version is not served
    for too long, its images fail, or go to the newest version with `version_fallback` `latest`. `priority` names the
    lane; without it a small job is interactive. `tiles` is `off`, `auto`, or a grid of rows by columns, as in `2x3`.
    Tiles overlap by `overlap`, a fraction of a tile's side. Once enough images of a job are done, it is given up if a
    larger share of them than `max_failure_rate` (0..1) failed. With `cache` a stored result is used if the same bytes
    were processed before by the same version with the same options.
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
    version_fallback: VersionFallback | None = None

    @property
    def grid(self) -> Grid | None:
        """The grid of tiles that was asked for; None without tiles, or if the grid depends on the image."""
        return None if self.tiles in {"off", "auto"} else Grid.parse(self.tiles)

    @property
    def rows_guess(self) -> int:
        """How many rows of the model an image makes, estimated before it is decoded."""
        if self.tiles == "auto":
            return _AUTO_ROWS
        return 1 if self.grid is None else self.grid.tiles + 1

    @property
    def target(self) -> str:
        """What its images queue for: `model`, or `model@version`. A batch is processed by a single version."""
        return self.model if self.model_version is None else f"{self.model}@{self.model_version}"

    def to_json(self) -> str:
        """Return the options as JSON, as they are stored with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def rows_each(guess: str | None, rows: str | None, images: str | None) -> float:
    """Return the rows per image of a job: measured on its finished images, or `guess`. As in lib/lanes.lua."""
    return max(1.0, int(rows) / int(images)) if guess and rows and images else float(guess or 1)


def parse_target(target: str) -> tuple[str, int | None]:
    """Return the model and the version that a JobOptions.target names; None for the newest version."""
    model, _, version = target.partition("@")
    return model, int(version) if version else None
