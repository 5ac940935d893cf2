"""Decode image bytes to upright RGB pixels, within limits. A bad image raises an error that fails this image alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from serving.boxes.preprocess import resize_parts
from serving.boxes.tiles import Grid, Tile, choose_grid, cut
from serving.contract import Contract
from workers.errors import ImageDecodeError, ImageError, ImageTooLargeError, UnsupportedFormatError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
_TURNED = {5, 6, 7, 8}  # EXIF orientations whose upright picture has width and height exchanged
_UPRIGHT = {  # not ImageOps.exif_transpose: it also rewrites the EXIF block, and fails on a damaged one
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_MAX_SIDE = 65_535  # as in JPEG. Resizing costs memory by the longest side: 1 x 49,000,000 pixels took 1.8 GB

# _check_size applies our limit before anything is decompressed. Pillow's limit only warns up to twice its value.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    The tiles are those of a fixed `grid`; without one they are chosen so that a tile has `scale` pixels per pixel of
    the model's input. `overlap` is the least share of a tile's side that its neighbour shows too.
    """

    grid: Grid | None
    overlap: float
    scale: float

    def grid_for(self, width: int, height: int, contract: Contract) -> Grid | None:
        """Return the grid of an image of this size in pixels; None if one tile would show all of it."""
        rows, columns = contract.input_height, contract.input_width
        grid = self.grid or choose_grid(height, width, rows, columns, overlap=self.overlap, scale=self.scale)
        return grid if grid.tiles > 1 else None


@dataclass(frozen=True)
class Prepared:
    """An image as rows for the model: the whole image, then its tiles.

    Each row is uint8 (H, W, 3) RGB at the model's input size, and `tiles` says what it shows. `width` and `height` are
    in pixels of the upright original. `grid` is None if the whole image is the only row.
    """

    rows: tuple[NDArray[np.uint8], ...]
    tiles: tuple[Tile, ...]
    grid: Grid | None
    width: int
    height: int


def prepare(content: bytes, contract: Contract, max_pixels: int, tiling: Tiling | None = None) -> Prepared:
    """Decode an image once, and resize it and its tiles to the model's input.

    Raises ImageDecodeError, ImageTooLargeError, UnsupportedFormatError.
    """

    def needed_size(width: int, height: int) -> tuple[int, int]:
        """Return the size of the whole image, in pixels, at which its smallest part, a tile, has the input's size."""
        _, (*_, tile) = _layout(width, height, contract, tiling)
        return (
            math.ceil(contract.input_width * width / tile.width),
            math.ceil(contract.input_height * height / tile.height),
        )

    image, width, height = decode(content, max_pixels, needed_size)
    grid, tiles = _layout(width, height, contract, tiling)
    with _image_errors():
        across, down = image.width / width, image.height / height  # less than 1 if the decoder reduced the image
        boxes = [
            (tile.left * across, tile.top * down, (tile.left + tile.width) * across, (tile.top + tile.height) * down)
            for tile in tiles
        ]
        return Prepared(tuple(resize_parts(image, contract, boxes)), tuple(tiles), grid, width, height)


def _layout(width: int, height: int, contract: Contract, tiling: Tiling | None) -> tuple[Grid | None, list[Tile]]:
    """Return the grid of an image, None without tiles, and what its rows show: the whole image, then each tile."""
    whole = Tile(0, 0, height, width)
    grid = tiling.grid_for(width, height, contract) if tiling else None
    if tiling is None or grid is None:
        return None, [whole]
    aspect = contract.input_width / contract.input_height
    return grid, [whole, *cut(height, width, grid, overlap=tiling.overlap, aspect=aspect)]


def decode(
    content: bytes, max_pixels: int, needed_size: Callable[[int, int], tuple[int, int]] | None = None
) -> tuple[Image.Image, int, int]:
    """Decode an image; return it upright and in RGB, with the width and height of the upright original in pixels.

    `needed_size` takes the original's (width, height) and returns the size that is needed. Then a JPEG may be decoded
    at a reduced size, at least twice as large as needed on both sides. That saves most of the time, and changes no
    pixel of the resized image by more than 4 of 255 (measured).

    Raises ImageDecodeError, ImageTooLargeError, UnsupportedFormatError.
    """
    if not content:
        raise ImageDecodeError("The file is empty.")
    with _image_errors(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        _check_size(width, height, max_pixels)
        orientation = _orientation(image)
        if orientation in _TURNED:
            width, height = height, width
        across, down = needed_size(width, height) if needed_size else (width, height)
        if needed_size and image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L"}:
            image.draft(None, (2 * down, 2 * across) if orientation in _TURNED else (2 * across, 2 * down))
        image.load()
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        return to_rgb(upright), width, height


def measure(content: bytes) -> tuple[int, int]:
    """Return the width and height of an image in pixels as stored, not turned upright. Only its header is read.

    Raises ImageDecodeError, UnsupportedFormatError.
    """
    with _image_errors(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return image.size


@contextmanager
def _image_errors() -> Iterator[None]:
    """Raise an ImageError for whatever Pillow raises."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnsupportedFormatError(
            f"The file is not an image of a supported format: {', '.join(FORMATS)}."
        ) from error
    except MemoryError as error:
        raise ImageTooLargeError("The image needs more memory than there is: make it smaller.") from error
    except Exception as error:  # Pillow's readers raise OSError, ValueError, SyntaxError, struct.error, and more
        raise ImageDecodeError(f"The image is damaged: {str(error)[:200]}.") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if max(width, height) > _MAX_SIDE:
        raise ImageTooLargeError(f"The image has {width} x {height} pixels: no side may have more than {_MAX_SIDE}.")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"The image has {width} x {height} pixels, more than {max_pixels} in all: make it smaller."
        )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a damaged EXIF block does not make the picture unreadable
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any of Pillow's modes to RGB.

    16 bits are scaled to 8, since `convert` would clip them. Transparent images are laid over white. Raises
    UnsupportedFormatError for floating-point images, whose range of values is not known.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        scaled = values >> 8 if values.max() > 255 else values
        return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnsupportedFormatError("The image holds floating-point values: save it with 8 or 16 bits per channel.")
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        white = Image.new("RGBA", overlay.size, "white")
        return Image.alpha_composite(white, overlay).convert("RGB")
    return image.convert("RGB")
