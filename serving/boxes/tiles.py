"""Where the tiles of a large photo lie, so that small products in it are seen at a useful size. Pure geometry."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Self

MOST_TILES: Final = 64
_GRID: Final = re.compile(r"([1-9]\d?)x([1-9]\d?)")


@dataclass(frozen=True)
class Tile:
    """A part of a picture: `top`, `left`, `height`, `width` in whole pixels of the upright original."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Grid:
    """So many rows and columns of tiles."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def tiles(self) -> int:
        """How many tiles it has."""
        return self.rows * self.columns

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `RxC`, rows by columns; raises ValueError where it is none, or has too many tiles."""
        found = _GRID.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no grid of tiles: give off, auto, or rows x columns as in 2x3")
        grid = cls(int(found[1]), int(found[2]))
        if grid.tiles > MOST_TILES:
            raise ValueError(f"a grid has at most {MOST_TILES} tiles, {text} has {grid.tiles}")
        return grid


def checked_tiles(text: str) -> str:
    """The option `tiles` as it is: off, auto or a grid; raises ValueError for anything else."""
    if text not in {"off", "auto"}:
        Grid.parse(text)
    return text


def choose_grid(height: int, width: int, input_height: int, input_width: int, *, overlap: float, scale: float) -> Grid:
    """The grid whose tiles show at most `scale` pixels of the picture for one of the model's input, on either side.

    Where that would take more than MOST_TILES the scale grows until it does not. `height` and `width` are in pixels of
    the upright original, the input's in pixels of the input; `overlap` is a part of a tile's side, 0 to below 1.
    """
    while True:
        grid = Grid(_count(height, scale * input_height, overlap), _count(width, scale * input_width, overlap))
        if grid.tiles <= MOST_TILES:
            return grid
        scale *= 1.05


def _count(side: int, tile: float, overlap: float) -> int:
    """How many tiles of a length, each overlapping the next, cover a side."""
    return max(1, math.ceil((side / tile - overlap) / (1 - overlap) - 1e-9))


def cut(height: int, width: int, grid: Grid, *, overlap: float, aspect: float) -> list[Tile]:
    """The tiles of a picture, row after row; together they cover it, and neighbours overlap by `overlap` or more.

    A tile has the model's `aspect`, its input's width over its height, as far as the picture is large enough for that:
    the shorter of its sides is made longer, so that nothing is stretched on its way into the model. `overlap` is a part
    of a tile's side, 0 to below 1. A picture smaller than its grid has tiles of one pixel.
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
