"""Cut a large image into tiles, so that small products have a useful size in the model's input. Pure geometry."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Self

MAX_TILES: Final = 64
_GRID: Final = re.compile(r"([1-9]\d?)x([1-9]\d?)")


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image: `top`, `left`, `height`, `width` in whole pixels of the upright original."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Grid:
    """The number of rows and columns of tiles."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def tiles(self) -> int:
        """Return the number of tiles."""
        return self.rows * self.columns

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RxC`, rows x columns. Raises ValueError for another text or for more than MAX_TILES tiles."""
        match = _GRID.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a grid of tiles: give off, auto, or rows x columns as in 2x3")
        grid = cls(int(match[1]), int(match[2]))
        if grid.tiles > MAX_TILES:
            raise ValueError(f"{text} has {grid.tiles} tiles: give a grid of at most {MAX_TILES}")
        return grid


def checked_tiles(text: str) -> str:
    """Return the option `tiles` unchanged. Raises ValueError unless it is `off`, `auto` or a grid (`2x3`)."""
    if text not in {"off", "auto"}:
        Grid.parse(text)
    return text


def choose_grid(height: int, width: int, input_height: int, input_width: int, *, overlap: float, scale: float) -> Grid:
    """Choose a grid for an image by the scale of its tiles.

    A tile has at most `scale` pixels of the image per pixel of the model's input, in height and in width. If that needs
    more than MAX_TILES tiles, the scale is raised by 5 % until it does not. `height` and `width` are in pixels of the
    upright original, `input_height` and `input_width` in pixels of the model's input. `overlap` is a fraction of a
    tile's side, 0 <= overlap < 1.
    """
    while True:
        grid = Grid(_count(height, scale * input_height, overlap), _count(width, scale * input_width, overlap))
        if grid.tiles <= MAX_TILES:
            return grid
        scale *= 1.05


def _count(side: int, tile: float, overlap: float) -> int:
    """Return the number of tiles of length `tile` (pixels) that cover `side` (pixels) with overlap."""
    return max(1, math.ceil((side / tile - overlap) / (1 - overlap) - 1e-9))


def cut(height: int, width: int, grid: Grid, *, overlap: float, aspect: float) -> list[Tile]:
    """Cut an image into the tiles of a grid, in row-major order.

    The tiles cover the image, and neighbours overlap by at least `overlap`, a fraction of a tile's side
    (0 <= overlap < 1). `height` and `width` are in pixels of the upright original. `aspect` is the model's input width
    divided by its input height. The shorter side of a tile is extended to that aspect ratio, as far as the image is
    large enough, so that the resize does not distort the tile. If the image has fewer pixels than the grid has rows or
    columns, tiles are one pixel large.
    """
    tall = _length(height, grid.rows, overlap)
    wide = _length(width, grid.columns, overlap)
    tall, wide = max(tall, min(height, round(wide / aspect))), max(wide, min(width, round(tall * aspect)))
    return [
        Tile(top, left, tall, wide)
        for top in _starts(height, tall, grid.rows)
        for left in _starts(width, wide, grid.columns)
    ]


def _length(side: int, count: int, overlap: float) -> int:
    return min(side, math.ceil(side / (count - (count - 1) * overlap) - 1e-9) + (count > 1))


def _starts(side: int, length: int, count: int) -> list[int]:
    return [round(number * (side - length) / (count - 1)) for number in range(count)] if count > 1 else [0]
