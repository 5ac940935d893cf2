"""Tiles cover the picture, overlap as asked, and are as many as the scale wants."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.boxes.tiles import MAX_TILES, Grid, choose_grid, cut

SIDE = st.integers(1, 4000)
COUNT = st.integers(1, 8)
OVERLAP = st.floats(0, 0.5)
ASPECT = st.sampled_from([1.0, 4 / 3, 0.5])


@given(SIDE, SIDE, COUNT, COUNT, OVERLAP, ASPECT)
def test_tiles_cover_every_pixel_and_overlap(
    height: int, width: int, rows: int, columns: int, overlap: float, aspect: float
) -> None:
    """Whatever the picture: panoramic, tiny, or smaller than its grid."""
    tiles = cut(height, width, Grid(rows, columns), overlap=overlap, aspect=aspect)

    assert len(tiles) == rows * columns
    for sides, length, count in (
        ([(tile.top, tile.height) for tile in tiles[::columns]], height, rows),
        ([(tile.left, tile.width) for tile in tiles[:columns]], width, columns),
    ):
        assert sides[0][0] == 0
        assert sum(sides[-1]) == length
        for (start, size), (following, _) in pairwise(sides):
            assert size >= 1
            assert start <= following <= start + size  # no pixel between them
            if length > 4 * count:
                assert start + size - following >= overlap * size - 1
    assert all(tile.top + tile.height <= height and tile.left + tile.width <= width for tile in tiles)


@given(st.integers(400, 4000), st.integers(400, 4000), st.integers(1, 6), st.integers(1, 6), ASPECT)
def test_tiles_have_the_model_s_aspect(height: int, width: int, rows: int, columns: int, aspect: float) -> None:
    """Where the picture is large enough for it."""
    tile = cut(height, width, Grid(rows, columns), overlap=0.2, aspect=aspect)[0]

    if tile.height < height and tile.width < width:
        assert tile.width / tile.height == pytest.approx(aspect, rel=0.03)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(32, 1024), OVERLAP, st.floats(0.5, 4))
def test_the_chosen_grid_shows_what_is_wanted(height: int, width: int, side: int, overlap: float, scale: float) -> None:
    """Each tile at the scale or finer, unless that takes too many; one tile where the picture is small."""
    grid = choose_grid(height, width, side, side, overlap=overlap, scale=scale)

    assert grid.tiles <= MAX_TILES
    if max(height, width) <= scale * side:
        assert grid == Grid(1, 1)
    coarsest = max(length(height, grid.rows, overlap), length(width, grid.columns, overlap))
    if coarsest > scale * side * 1.001:
        finer = coarsest / 1.06
        assert needed(height, finer, overlap) * needed(width, finer, overlap) > MAX_TILES


def length(side: int, count: int, overlap: float) -> float:
    """How long each of so many tiles of a side is."""
    return side / (count - (count - 1) * overlap)


def needed(side: int, longest: float, overlap: float) -> int:
    """The least count of tiles no longer than that, tried one after the other."""
    return next(count for count in range(1, 20_001) if length(side, count, overlap) <= longest)


def test_a_shelf_photo_of_six_megapixels() -> None:
    """At two and a half pixels for one of a 300 pixel input it is four rows by five."""
    assert choose_grid(2000, 3000, 300, 300, overlap=0.2, scale=2.5) == Grid(4, 5)


@pytest.mark.parametrize(("text", "grid"), [("1x1", Grid(1, 1)), ("2x3", Grid(2, 3)), ("8x8", Grid(8, 8))])
def test_a_grid_is_read(text: str, grid: Grid) -> None:
    """And written the same way."""
    assert Grid.parse(text) == grid
    assert str(grid) == text


@pytest.mark.parametrize("text", ["", "0x1", "2", "2x", "x2", "2X3", "9x8", "100x1", "2x3 ", "-1x2", "\N{DIGIT TWO}x²"])
def test_what_is_no_grid_is_refused(text: str) -> None:
    """With what to do."""
    with pytest.raises(ValueError, match="grid"):
        Grid.parse(text)


@given(st.integers(50, 3000), st.integers(50, 3000), COUNT, COUNT, st.randoms())
def test_a_tile_s_coordinates_lead_back(height: int, width: int, rows: int, columns: int, chance: object) -> None:
    """A point of the picture, seen in any tile that shows it, is mapped back to itself to half a pixel."""
    rng = np.random.default_rng(chance.getrandbits(32))  # type: ignore[attr-defined]
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    for tile in cut(height, width, Grid(rows, columns), overlap=0.2, aspect=1.0):
        seen = (y - tile.top) / tile.height, (x - tile.left) / tile.width
        if all(0 <= part <= 1 for part in seen):
            back = tile.top + np.float32(seen[0]) * tile.height, tile.left + np.float32(seen[1]) * tile.width
            assert abs(back[0] - y) <= 0.5
            assert abs(back[1] - x) <= 0.5
