"""Convert decoded pixels to sRGB where the file says that they are something else. Untagged images stay as they are.

A file says it with an ICC profile (JPEG, PNG, WebP, TIFF, AVIF, BMP), with PNG's cICP, gAMA and cHRM, or with AVIF's
nclx. LittleCMS converts, relative colorimetric. What a file says wrongly is ignored, as browsers do.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageFilter

from workers.sources import colour_spaces
from workers.sources.damage.jpeg import JPEG_START, jpeg_segments
from workers.sources.strips import strips

Space = bytes | ImageFilter.Color3DLUT  # an ICC profile, or a table to sRGB
_KEPT = 1 << 20  # bytes of a profile whose transform is kept for the next image. Cameras' have 4 kB, printers' 600
_AVIF_HEAD = 1 << 16  # bytes at the start of an AVIF in which its description is looked for
_APP2, _ICC_PART = 0xE2, b"ICC_PROFILE\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_FULL_RANGE_RGB = b"\0\1"  # how samples of a PNG must be stored, by its cICP
_PNG_GAMMA = 0.45455  # what an encoder writes that means sRGB
_LEAST_RANGE = 32  # of 255. A profile whose colours are all alike is damaged
_SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class _Transform:
    """LittleCMS' transform from a profile to sRGB, and whether it leaves the pixels as they are."""

    steps: ImageCms.ImageCmsTransform
    changes_nothing: bool


def to_srgb(image: Image.Image, content: bytes) -> Image.Image:
    """Return the image in sRGB, as RGB or RGBA if anything was converted; RGB and RGBA are converted in place.

    `content` is the file that the image was decoded from. The mode of the image has eight bits a channel.
    """
    for space in _spaces(image, content):
        converted = _convert(image, space) if isinstance(space, bytes) else _tone(image, space)
        if converted is not None:
            return converted
    return image


def _spaces(image: Image.Image, content: bytes) -> Iterator[Space]:
    """Give what the file says of its colours, what counts first: ICC profiles, or tables to sRGB."""
    chunks = _png_chunks(content) if content.startswith(_PNG) else {}
    if chunks.get(b"cICP", b"")[2:] == _FULL_RANGE_RGB:  # browsers leave others aside
        yield from _of_code_points(*chunks[b"cICP"][:2], camera_curve=(2.4, 1, 0, 1, 0))
    embedded = _of_jpeg(content) if content.startswith(JPEG_START) else image.info.get("icc_profile")
    if isinstance(embedded, bytes):
        yield embedded
    if b"gAMA" in chunks and b"sRGB" not in chunks:
        yield from _of_gamma(chunks[b"gAMA"], chunks.get(b"cHRM", b""))
    if content[4:8] == b"ftyp":
        place = content.find(b"colrnclx", 0, _AVIF_HEAD)
        if place >= 0:
            yield from _of_code_points(*content[place + 9 : place + 13 : 2], camera_curve=colour_spaces.SRGB_CURVE)
    if content.startswith(b"BM"):
        yield from _of_bitmap(content)


def _of_jpeg(content: bytes) -> bytes | None:
    """Return the profile of a JPEG, None if there is none or a part of it is missing.

    Its parts are numbered from 1, and each says how many there are (ICC.1:2022, B.4). Pillow takes none if one comes
    twice, and counts from 0 as well.
    """
    parts: dict[int, bytes] = {}
    count = 0
    for marker, start, end in jpeg_segments(content):
        body = content[start + 4 : end]
        if marker == _APP2 and body.startswith(_ICC_PART) and len(body) > len(_ICC_PART) + 2:
            number, count = body[len(_ICC_PART) : len(_ICC_PART) + 2]
            parts.setdefault(number, body[len(_ICC_PART) + 2 :])
    complete = count > 0 and parts.keys() == set(range(1, count + 1))
    return b"".join(parts[number] for number in sorted(parts)) if complete else None


def _png_chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the intact chunks of a PNG that stand before its pixels and say what its colours are."""
    chunks: dict[bytes, bytes] = {}
    place = len(_PNG)
    while place + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"IDAT":
            break
        if name in {b"cICP", b"gAMA", b"cHRM", b"sRGB"} and length <= 32:
            body = content[place + 8 : place + 8 + length]
            if content[place + 8 + length : place + 12 + length] == struct.pack(">I", zlib.crc32(name + body)):
                chunks.setdefault(name, body)
        place += 12 + length
    return chunks


def _of_code_points(primaries: int = 0, transfer: int = 0, *, camera_curve: colour_spaces.Curve) -> list[Space]:
    """Return the space of H.273's code points; none if they are not known.

    `camera_curve` stands for BT.709's. Browsers take 2.4 for it in PNG, and sRGB's in AVIF.
    """
    if primaries not in colour_spaces.PRIMARIES:
        return []
    if transfer in colour_spaces.HDR_CURVES:
        return [colour_spaces.hdr_table(primaries, transfer)]
    curve = camera_curve if transfer in colour_spaces.CAMERA_CURVES else colour_spaces.CURVES.get(transfer)
    return [colour_spaces.profile_of(colour_spaces.PRIMARIES[primaries], curve)] if curve else []


def _of_gamma(gamma: bytes, chromaticities: bytes) -> list[bytes]:
    """Return the profile of PNG's gAMA and cHRM; none without gAMA, or if they mean sRGB."""
    if len(gamma) != 4 or len(chromaticities) not in {0, 32}:
        return []
    encoded = int.from_bytes(gamma) / 100_000
    primaries = colour_spaces.SRGB
    if chromaticities:
        values = [value / 100_000 for value in struct.unpack(">8I", chromaticities)]
        white, red, green, blue = zip(values[::2], values[1::2], strict=True)
        primaries = (red, green, blue, white)
    if abs(encoded / _PNG_GAMMA - 1) < 0.05 and np.allclose(primaries, colour_spaces.SRGB, atol=0.005):
        return []
    if not 0.1 <= encoded <= 10:
        return []
    try:
        return [colour_spaces.profile_of(primaries, (1 / encoded, 1, 0, 1, 0))]
    except ValueError:
        return []


def _of_bitmap(content: bytes) -> list[bytes]:
    """Return the profile embedded in a BMP with a header of version 5; Pillow does not read it."""
    if len(content) < 138 or content[14:18] != b"\x7c\0\0\0" or content[70:74] != b"DEBM":
        return []
    offset, length = struct.unpack_from("<II", content, 126)
    return [content[14 + offset : 14 + offset + length]]


def _convert(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the image in sRGB; None if the profile is damaged or is one for images of another kind."""
    space = profile[16:20]
    grey = image.mode in {"1", "L", "LA"}
    fits = {b"RGB ": image.mode != "CMYK", b"GRAY": grey, b"CMYK": image.mode == "CMYK"}
    mode = {b"GRAY": "L", b"CMYK": "CMYK"}.get(space, "RGBA" if image.has_transparency_data else "RGB")
    if not fits.get(space) or _transform(profile, mode) is None:
        return None  # before the image is converted for nothing
    if mode == "L" and image.has_transparency_data:
        return _grey_with_alpha(image, profile)
    return _applied(image if image.mode == mode else image.convert(mode), profile)


def _grey_with_alpha(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a grey image with transparent pixels in sRGB as RGBA, strip by strip."""
    converted = Image.new("RGBA", image.size)
    for box in strips(image):
        lightness, alpha = image.crop(box).convert("LA").split()
        colours = _applied(lightness, profile)
        if colours is None or colours is lightness:  # the profile changes nothing
            return image
        colours.putalpha(alpha)
        converted.paste(colours, box)
    return converted


def _tone(image: Image.Image, table: ImageFilter.Color3DLUT) -> Image.Image | None:
    """Return the image by a table to sRGB; None for CMYK. RGB and RGBA are converted in place, strip by strip."""
    if image.mode == "CMYK":
        return None
    mode = "RGBA" if image.has_transparency_data else "RGB"
    colours = image if image.mode == mode else image.convert(mode)
    for box in strips(colours):
        colours.paste(colours.crop(box).filter(table), box)
    return colours


def _applied(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return an image of mode RGB, RGBA, L or CMYK in sRGB; RGB and RGBA are converted in place."""
    transform = _transform(profile, image.mode)
    if transform is None:
        return None
    if transform.changes_nothing:
        return image
    if image.mode in {"RGB", "RGBA"}:
        ImageCms.applyTransform(image, transform.steps, inPlace=True)
        return image
    return ImageCms.applyTransform(image, transform.steps)


def _transform(profile: bytes, mode: str) -> _Transform | None:
    return _kept_transform(profile, mode) if len(profile) <= _KEPT else _new_transform(profile, mode)


def _new_transform(profile: bytes, mode: str) -> _Transform | None:
    """Return the transform of pixels of this mode; None if the profile is damaged."""
    after = "RGBA" if mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        steps = ImageCms.buildTransform(
            source, _SRGB, mode, after, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        samples = _samples(mode)
        colours = np.asarray(ImageCms.applyTransform(samples, steps)).astype(int)[..., :3]
    except Exception:  # noqa: BLE001  Pillow raises more than its own error; a damaged profile leaves a picture
        return None
    if np.ptp(colours) < _LEAST_RANGE:
        return None
    changes = mode == "CMYK" or np.abs(colours - np.asarray(samples.convert("RGB"))).max() > 1
    return _Transform(steps, not changes)


_kept_transform = lru_cache(maxsize=16)(_new_transform)


def _samples(mode: str) -> Image.Image:
    """Return an image of colours from the whole range of a mode."""
    channels = {"L": 1, "CMYK": 4}.get(mode, 3)
    levels = np.linspace(0, 255, {1: 256, 3: 9, 4: 5}[channels]).astype(np.uint8)
    values = np.stack(np.meshgrid(*[levels] * channels), axis=-1).reshape(1, -1, channels)
    if channels == 1:
        return Image.fromarray(values[..., 0])
    return Image.fromarray(values, "CMYK" if channels == 4 else "RGB").convert(mode)
