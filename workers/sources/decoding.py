"""Decode image bytes to upright RGB pixels, within limits. A bad image raises an error that fails this image alone."""

from __future__ import annotations

import io
import math
import re
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from serving.boxes.placement import place
from serving.boxes.preprocess import resize_tiles
from serving.boxes.tiles import Grid, Tile, choose_grid, cut
from serving.contract import Contract
from workers.errors import ImageDecodeError, ImageError, ImageTooLargeError, UnsupportedFormatError
from workers.sources.codecs.avif import decode_avif
from workers.sources.codecs.webp import decode_webp
from workers.sources.colour import to_srgb
from workers.sources.damage.png import MAX_INFLATED
from workers.sources.damage.repairing import check_pixels, with_end, without_extras
from workers.sources.eight_bits import read_planes_right, to_eight_bits
from workers.sources.memory.budget import Share, decoding_share
from workers.sources.memory.needs import bytes_to_decode
from workers.sources.strips import strips

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
_BEGINNINGS = {  # of files of each format, damaged or not
    kind: re.compile(begins, re.DOTALL)
    for kind, begins in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG"),
        ("WEBP", rb"RIFF....WEBP"),
        ("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("GIF", rb"GIF8"),
        ("TIFF", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
        ("AVIF", rb"....ftypavi[fs]"),
        ("PPM", rb"P[1-6f]\s"),
    )
}
_NOT_THIS_FORMAT = re.compile("not (an? .+ file|identified by this driver)")
_NOT_READ = re.compile("unsupported|unknown pixel mode|not (yet )?supported|cannot handle|not installed", re.IGNORECASE)
_DIRECT = {"WEBP": decode_webp, "AVIF": decode_avif}  # by functions of the library, which take less memory
_MAX_SIDE = 65_535  # as in JPEG. Resizing costs memory by the longest side: 1 x 49,000,000 pixels took 1.8 GB

NeededSize = Callable[[int, int], tuple[int, int]]
"""Takes an original's (width, height) in pixels, and returns the size that is needed."""

# _check_size applies our limit before anything is decompressed. Pillow's limit only warns up to twice its value.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_INFLATED


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

    The function waits until the memory that it needs is free in the budget of the process. Raises ImageDecodeError,
    ImageTooLargeError, UnsupportedFormatError.
    """
    with decoding_share(max_pixels) as share:
        return _prepare(content, contract, max_pixels, tiling, share)


def _prepare(content: bytes, contract: Contract, max_pixels: int, tiling: Tiling | None, share: Share) -> Prepared:
    def needed_size(width: int, height: int) -> tuple[int, int]:
        """Return the size of the whole image, in pixels, at which its smallest part, a tile, has the input's size."""
        _, (*_, tile) = _layout(width, height, contract, tiling)
        shown = place(contract, tile.height, tile.width)
        return math.ceil(shown.width * width / tile.width), math.ceil(shown.height * height / tile.height)

    # Without antialias single pixels are sampled, and a reduced image has others.
    image, width, height = decode(content, max_pixels, needed_size if contract.antialias else None, share)
    grid, tiles = _layout(width, height, contract, tiling)
    with _image_errors(content):
        rows = resize_tiles(image, contract, tiles, (height, width))
        return Prepared(tuple(rows), tuple(tiles), grid, width, height)


def _layout(width: int, height: int, contract: Contract, tiling: Tiling | None) -> tuple[Grid | None, list[Tile]]:
    """Return the grid of an image, None without tiles, and what its rows show: the whole image, then each tile."""
    whole = Tile(0, 0, height, width)
    grid = tiling.grid_for(width, height, contract) if tiling else None
    if tiling is None or grid is None:
        return None, [whole]
    aspect = contract.input_width / contract.input_height
    return grid, [whole, *cut(height, width, grid, overlap=tiling.overlap, aspect=aspect)]


def decode(
    content: bytes, max_pixels: int, needed_size: NeededSize | None = None, share: Share | None = None
) -> tuple[Image.Image, int, int]:
    """Decode an image; return it upright and in RGB, with the width and height of the upright original in pixels.

    `needed_size` takes the original's (width, height) and returns the size that is needed. Then a JPEG may be decoded
    at a reduced size, at least twice as large as needed on both sides. That saves most of the time. It changes the
    resized image by less than 1 of 255 in the mean and a pixel by 9 at most, in photos; in noise by 3 and 16. RGB, grey
    and CMYK are alike in this (measured).

    The function waits until the memory that it needs is free in the budget of the process, and leaves it in `share`.
    Without a share it is given back when the function returns.

    Raises ImageDecodeError, ImageTooLargeError, UnsupportedFormatError.
    """
    if not content:
        raise ImageDecodeError("The file is empty.")
    if share is None:
        with decoding_share(max_pixels) as own:
            return decode(content, max_pixels, needed_size, own)
    with _image_errors(content):
        try:
            return _decode_as_it_is(content, max_pixels, needed_size, share)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they hold the pixels
            better = with_end(without_extras(content), max_pixels, before_load=partial(_take_share, share, content))
            if better == content:
                raise
        return _decode_as_it_is(better, max_pixels, needed_size, share)


def _decode_as_it_is(
    content: bytes, max_pixels: int, needed_size: NeededSize | None, share: Share
) -> tuple[Image.Image, int, int]:
    image, orientation, (width, height) = _load(content, max_pixels, needed_size, share)
    if orientation in _TURNED:
        width, height = height, width
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image, width, height


def _load(
    content: bytes, max_pixels: int, needed_size: NeededSize | None, share: Share
) -> tuple[Image.Image, int, tuple[int, int]]:
    """Return an image in RGB, the orientation by which it is still to be turned, and the original's size before that.

    What the decoder holds is given back when this function returns. So the image is turned after that.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        size = image.size
        _check_size(*size, max_pixels)
        reduced = needed_size is not None and image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L", "CMYK"}
        if needed_size and reduced:  # the metadata of a JPEG stand before its pixels
            turned = _orientation(image) in _TURNED
            across, down = needed_size(*(reversed(size) if turned else size))
            image.draft(None, (2 * down, 2 * across) if turned else (2 * across, 2 * down))
        read_planes_right(image)
        _take_share(share, content, image, size)
        directly = _DIRECT.get(image.format or "")
        pixels = directly(content, image) if directly else None
        if pixels is None:
            image.load()
            pixels = image
            check_pixels(image, content, max_pixels, before_load=partial(_take_share, share, content))
            if not reduced:
                size = image.size
        # Only now, since Pillow loads a PNG to read its orientation, and turns a TIFF upright when it loads it. Nothing
        # may load an image in a place that lets errors pass: a second load does nothing, and says nothing.
        orientation = _orientation(image)
        again = partial(_take_share, share, content, beside=1)
        for convert in (
            partial(to_eight_bits, content=content, before_load=again),
            partial(to_srgb, content=content),
            to_rgb,
        ):
            converted = convert(pixels)
            if converted is not pixels:
                pixels.close()
            pixels = converted
        return pixels, orientation, size


def _take_share(
    share: Share, content: bytes, image: Image.Image, size: tuple[int, int] | None = None, *, beside: int = 0
) -> None:
    """Wait for the memory that it takes to decode an image. `size` is its size as stored, if that will be reduced.

    `beside` is how many images of its size are held meanwhile.

    Raises ImageTooLargeError if it takes more than the whole budget.
    """
    needed = bytes_to_decode(image, size or image.size, content, beside=beside)
    if needed > share.limit:
        raise ImageTooLargeError(
            f"The image takes {needed / 1e6:,.0f} MB of memory to decode, more than {share.limit / 1e6:,.0f}: make it "
            "smaller, or save it with 8 bits per channel."
        )
    share.take(needed)


def measure(content: bytes) -> tuple[int, int]:
    """Return the width and height of an image in pixels as stored, not turned upright. Only its header is read.

    Raises ImageDecodeError, UnsupportedFormatError.
    """
    with _image_errors(content):
        try:
            return _size(content)
        except Exception:
            better = without_extras(content)
            if better == content:
                raise
        return _size(better)


def _size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return image.size


@contextmanager
def _image_errors(content: bytes) -> Iterator[None]:
    """Raise an ImageError for whatever Pillow raises while it reads `content`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLargeError("The image needs more memory than there is: make it smaller.") from error
    except UnidentifiedImageError as error:
        raise _refusal(content, _header_error(content) or error) from error
    except Exception as error:  # Pillow's readers raise OSError, ValueError, SyntaxError, struct.error, and more
        raise _refusal(content, error) from error


def _header_error(content: bytes) -> Exception | None:
    """Return what the reader of the file's format raises, which `Image.open` does not say."""
    kind = _kind(content)
    if kind:
        read_header, _ = Image.OPEN[kind]
        try:
            read_header(io.BytesIO(content), "")
        except Exception as error:  # noqa: BLE001  as in _image_errors
            return error
    return None


def _refusal(content: bytes, error: Exception) -> ImageError:
    """Return the error of a file that a reader of Pillow refuses: no image, a damaged one, or one of a rare kind."""
    kind, reason = _kind(content), _reason(error)
    if kind is None:
        return UnsupportedFormatError(
            f"The file is not an image of a supported format: {', '.join(FORMATS)}. Save it in one of these."
        )
    if _NOT_READ.search(reason):
        return UnsupportedFormatError(f"The file is a {kind} of a kind that is not supported ({reason}): save it anew.")
    return ImageDecodeError(_damaged(kind, reason))


def _kind(content: bytes) -> str | None:
    """Return the format that a file begins as, whether it can be read or not; None if it is none of FORMATS."""
    return next((kind for kind, begins in _BEGINNINGS.items() if begins.match(content)), None)


def _damaged(kind: str, reason: str) -> str:
    return f"The file is a damaged {kind} ({reason or 'its data contradict each other'}): send an intact copy."


def _reason(error: Exception) -> str:
    """Return what a reader of Pillow says is wrong, without a full stop."""
    if isinstance(error, SyntaxError) and _NOT_THIS_FORMAT.match(str(error)):
        return "its header is damaged"
    cause = error.__cause__ if isinstance(error, SyntaxError) and error.__cause__ else error
    if isinstance(cause, (struct.error, IndexError)):  # their texts speak of the reader's code
        return "it ends too early"
    return " ".join(str(error).split())[:200].rstrip(".")


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
    """Convert an image to RGB, after `to_eight_bits`.

    16 bits are scaled to 8, since `convert` would clip them. Transparent images are laid over white. This is done strip
    by strip: beside the image and the result it takes a few MB. Raises UnsupportedFormatError for floating-point
    images, whose range of values is not known.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise UnsupportedFormatError("The image holds floating-point values: save it with 8 or 16 bits per channel.")
    if image.mode.startswith("I"):
        wide = image.mode != "I" or int(image.getextrema()[1]) > 255  # type: ignore[arg-type]  # one band, so numbers
        return _by_strips(image, partial(_grey_to_rgb, shift=8 if wide else 0))
    if image.has_transparency_data:
        return _by_strips(image, _over_white)
    return image.convert("RGB")


def _by_strips(image: Image.Image, to_rgb_strip: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the RGB image of the same size whose strips are `to_rgb_strip` of the image's strips."""
    rgb = Image.new("RGB", image.size)
    for box in strips(image):
        rgb.paste(to_rgb_strip(image.crop(box)), box)
    return rgb


def _grey_to_rgb(image: Image.Image, shift: int) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) >> shift, 0, 255).astype(np.uint8)).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    overlay = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
