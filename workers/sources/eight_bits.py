"""Bring decoded images to eight bits a channel, and make white what a file stores no colour for.

Pillow keeps the upper eight bits of most 16-bit images. That is right for samples that use all 16 bits; here are the
others, and the pixels that a 16-bit PNG calls transparent, for which the lower bits count. White is painted at once,
since an alpha channel would cost several images of memory; it is white in every colour space.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from workers.sources.damage.jpeg import BeforeLoad
from workers.sources.strips import strips

_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of a TIFF
_WHITE_IS_ZERO, _SEPARATE = 0, 2  # values of the second and third
_FEW = 14  # bits: cameras and scanners give 10, 12 or 14, and store them in 16
_PNG_DEPTH = 24  # the place in a PNG of the number of bits of a sample
_WHITE = 255


def to_eight_bits(image: Image.Image, content: bytes, before_load: BeforeLoad) -> Image.Image:
    """Return the image with eight bits a channel; the same image if Pillow did all that is needed.

    `content` is the file that the image was decoded from. `before_load` is called with the image if it must be decoded
    once more. Images of mode I that are no TIFF stay as they are.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "TIFF"):
        return _grey(image)
    transparent = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(transparent, int):
        most = (1 << content[_PNG_DEPTH]) - 1
        image.info["transparency"] = (transparent & most) * (_WHITE // most)  # as Pillow scaled the samples
    elif image.format == "PNG" and image.mode == "RGB" and isinstance(transparent, tuple) and content[_PNG_DEPTH] == 16:
        _whiten(image, _lower_bits(image, content, before_load), transparent)
    elif image.format == "TIFF" and image.mode in {"RGB", "RGBA"} and _bits_stored(image) == 16:
        _scale_colours(image, content, before_load)
    return _with_empty_margin(image, content)


def _with_profile_of(image: Image.Image, converted: Image.Image) -> Image.Image:
    if "icc_profile" in image.info:
        converted.info["icc_profile"] = image.info["icc_profile"]
    return converted


def read_planes_right(image: Image.Image) -> None:
    """Have libtiff read an open TIFF that stores its channels apart, uncompressed, with 16 bits a sample.

    Pillow would read each plane as one of eight bits.
    """
    tags: Any = getattr(image, "tag_v2", {})
    tiff: Any = image
    if tags.get(_PLANAR) != _SEPARATE or _bits_stored(image) != 16 or tiff.use_load_libtiff or not tiff.tile:
        return
    right, lower = (max(tile[1][corner] for tile in tiff.tile) for corner in (2, 3))
    args = (f"{image.mode};16N", False, tags.offset)
    tiff.tile = [tiff.tile[0]._replace(codec_name="libtiff", extents=(0, 0, right, lower), offset=0, args=args)]
    tiff.use_load_libtiff = True


def _bits_stored(image: Image.Image) -> int:
    """Return how many bits a sample of a TIFF has in the file."""
    tags: Any = getattr(image, "tag_v2", {})
    return int(tags.get(_BITS_PER_SAMPLE, (8,))[0])


def _bits_used(largest: int, stored: int) -> int:
    """Return how many bits the samples of a TIFF use, at least 8, by the largest of them.

    A file with fewer than 16 bits says so. One with 16 says nothing of samples of 14 bits or fewer; if none is larger,
    they are taken for such.
    """
    if stored < 16:
        return max(8, stored)
    used = max(8, largest.bit_length())
    return used if used <= _FEW else max(16, used)


def _grey(image: Image.Image) -> Image.Image:
    """Return a grey image of 12 to 32 bits as L, white where it has the transparent value."""
    shift = 8
    tags: Any = getattr(image, "tag_v2", {})
    unsigned = image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1  # Pillow takes 32 bits for signed ones
    kind = np.uint32 if unsigned else np.asarray(image.crop((0, 0, 1, 1))).dtype
    if image.format == "TIFF":
        largest = max(int(np.asarray(image.crop(box)).view(kind).max()) for box in strips(image))
        shift = _bits_used(largest, _bits_stored(image)) - 8
    transparent = image.info.get("transparency")
    grey = Image.new("L", image.size)
    for box in strips(image):
        values = np.asarray(image.crop(box)).view(kind)
        scaled = (values.clip(0) >> shift).astype(np.uint8)  # a negative sample is black
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            scaled = _WHITE - scaled
        if transparent is not None:
            scaled[values == transparent] = _WHITE
        grey.paste(Image.fromarray(scaled), box)
    return _with_profile_of(image, grey)


def _lower_bits(image: Image.Image, content: bytes, before_load: BeforeLoad) -> Image.Image:
    """Decode a 16-bit image again, with the lower eight bits of each sample in place of the upper ones."""
    swapped = {"16B": "16L", "16L": "16B", "16N": "16B"}  # N is the order of this machine: L
    with Image.open(io.BytesIO(content), formats=[image.format or ""]) as lower:
        read_planes_right(lower)  # of channels that are stored apart libtiff gives the upper bits again
        tiles = []
        for tile in lower.tile:
            order, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            order = f"{order[:-3]}{swapped[order[-3:]]}"
            tiles.append(tile._replace(args=(order, *rest) if rest else order))
        lower.tile = tiles
        before_load(lower)
        lower.load()
        return lower


def _whiten(image: Image.Image, lower: Image.Image, transparent: tuple[int, ...]) -> None:
    """Make the pixels of a 16-bit RGB PNG white, in place, that have the transparent colour."""
    upper_bits = np.array([value >> 8 for value in transparent], np.uint8)
    lower_bits = np.array([value & 255 for value in transparent], np.uint8)
    del image.info["transparency"]
    for box in strips(image):
        pixels = np.array(image.crop(box))
        alike: NDArray[np.bool_] = (pixels == upper_bits).all(axis=-1)
        alike &= (np.asarray(lower.crop(box)) == lower_bits).all(axis=-1)
        pixels[alike] = _WHITE
        image.paste(Image.fromarray(pixels), box)


def _scale_colours(image: Image.Image, content: bytes, before_load: BeforeLoad) -> None:
    """Scale an RGB or RGBA image of a 16-bit TIFF, in place, if its samples use 14 bits or fewer."""
    extremes: Any = image.getextrema()
    if not max(most for _, most in extremes[:3]) < 1 << (_FEW - 8):
        return
    lower = _lower_bits(image, content, before_load)
    largest = max(
        int((np.asarray(image.crop(box))[..., :3].astype(np.uint16) << 8 | np.asarray(lower.crop(box))[..., :3]).max())
        for box in strips(image)
    )
    shift = _bits_used(largest, 16) - 8
    for box in strips(image):
        upper = np.asarray(image.crop(box))
        values = (upper.astype(np.uint16) << 8 | np.asarray(lower.crop(box))) >> shift
        values[..., 3:] = upper[..., 3:]  # alpha uses all its bits
        image.paste(Image.fromarray(values.astype(np.uint8), image.mode), box)


def _with_empty_margin(image: Image.Image, content: bytes) -> Image.Image:
    """Return a GIF or WebP whose first frame is smaller than its screen with a white margin."""
    frame: tuple[int, int, int, int] | None = None
    if isinstance(image, GifImagePlugin.GifImageFile):
        frame = image.dispose_extent
    elif image.format == "WEBP" and image.mode == "RGB":
        frame = _first_webp_frame(content)
    if frame is None or frame == (0, 0, *image.size) or image.has_transparency_data:
        return image  # a GIF with a transparent entry has it in its margin too
    screen = Image.new("RGB", image.size, "white")
    screen.paste(image.crop(frame).convert("RGB"), frame)
    return _with_profile_of(image, screen)


def _first_webp_frame(content: bytes) -> tuple[int, int, int, int] | None:
    """Return the box of the first frame of an animated WebP; None if it is not animated."""
    place = 12
    while place + 20 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        if name == b"ANMF":
            left, top, width, height = (
                int.from_bytes(content[at : at + 3], "little") for at in range(place + 8, place + 20, 3)
            )
            return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1
        if name in {b"VP8 ", b"VP8L"}:
            return None
        place += 8 + length + length % 2
    return None
