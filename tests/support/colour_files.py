"""Small image files that say in some way what their colours are, with the sRGB pixels that they mean."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support import colour_profiles as profiles
from tests.support.colour_profiles import SPACES, Floats, Space
from tests.support.image_files import jpeg_segment, jpeg_with

Pixels = NDArray[np.uint8]
_rng = np.random.default_rng(20)
# Patches of 8 x 8 pixels, so that a JPEG keeps their colours.
PATCHES: Pixels = np.kron(_rng.integers(0, 256, (6, 6, 3)), np.ones((8, 8, 1), int)).astype(np.uint8)
INKS: Pixels = np.kron(_rng.integers(0, 200, (6, 6, 4)), np.ones((8, 8, 1), int)).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """A file, and its pixels in sRGB: uint8 (H, W, 3)."""

    content: bytes
    pixels: Pixels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image in a file format."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with these chunks after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def gama(encoding: float) -> bytes:
    """Return the chunk of a PNG that says: the stored value is light to the power of `encoding`."""
    return chunk(b"gAMA", struct.pack(">I", round(100_000 * encoding)))


def chrm(primaries: profiles.Primaries) -> bytes:
    """Return the chunk of a PNG that names its primaries, under D65."""
    points = (profiles.D65, *primaries)
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for point in points for value in point)))


def cicp(primaries: int, transfer: int) -> bytes:
    """Return the chunk of a PNG that describes RGB with full range by H.273."""
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def bitmap(pixels: Pixels, profile: bytes) -> bytes:
    """Return a BMP with a header of version 5 that embeds a profile."""
    height, width, _ = pixels.shape
    body = pixels[::-1, :, ::-1].tobytes()
    header = struct.pack("<IiiHHII8x8x", 124, width, height, 1, 24, 0, len(body)) + struct.pack("<16x4s48x", b"DEBM")
    header += struct.pack("<IIII", 4, 124 + len(body), len(profile), 0)
    size = 14 + len(header) + len(body) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 138) + header + body + profile


def png(pixels: Pixels | NDArray[np.uint16], **options: object) -> bytes:
    """Return pixels (H, W) or (H, W, 3) as a PNG, 16-bit ones (H, W) too."""
    return encoded(Image.fromarray(pixels), "PNG", **options)


def meant(primaries: profiles.Primaries, curve: Callable[[Floats], Floats], stored: Pixels = PATCHES) -> Pixels:
    """Return the sRGB pixels of stored values in a space of these primaries, under D65."""
    return profiles.expected(curve(stored / 255) @ profiles.rgb_to_xyz(primaries).T)


def stored_in(content: bytes) -> Pixels:
    """Return the values that a file stores, as Pillow decodes them."""
    return np.asarray(Image.open(io.BytesIO(content)))


def of_space(space: Space, kind: str, pixels: Pixels, **options: object) -> Case:
    """Return a file of this format whose pixels are in a space, which its ICC profile tells."""
    mode = "CMYK" if space.mode == "CMYK" else None
    content = encoded(Image.fromarray(pixels, mode), kind, icc_profile=space.profile, **options)
    values = stored_in(content) / 255
    return Case(content, profiles.expected(space.to_xyz(values[..., None] if space.mode == "L" else values)))


def _avif(primaries: int, transfer: int) -> bytes:
    content = encoded(Image.fromarray(PATCHES), "AVIF", quality=100, subsampling="4:4:4")
    place = content.index(b"nclx")
    return content[:place] + struct.pack(">4sHH", b"nclx", primaries, transfer) + content[place + 8 :]


def jpeg_in_parts(profile: bytes, *parts: tuple[int, int, slice]) -> bytes:
    """Return a JPEG with parts of a profile: each with its number, how many there are, and its bytes."""
    segments = (
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes((number, count)) + profile[place]) for number, count, place in parts
    )
    return jpeg_with(encoded(Image.fromarray(PATCHES), "JPEG", quality=100, subsampling=0), *segments)


def tagged() -> dict[str, Case]:
    """Return files that are to be converted, by what they are."""
    best = {"quality": 100, "subsampling": 0}
    plain = png(PATCHES)
    prophoto, p3, grey = SPACES["prophoto"], SPACES["display-p3"], SPACES["grey-gamma-1.8"]
    xyb = np.rint(255 * profiles.xyb_of(profiles.srgb_curve(PATCHES / 255))).astype(np.uint8)
    cases = {
        f"{name}, {kind}": of_space(SPACES[name], kind, PATCHES, **options)
        for name in ("display-p3", "adobe-rgb", "prophoto", "apple-rgb")
        for kind, options in {"JPEG": best, "PNG": {}}.items()
    }
    cases |= {
        "grey, PNG": of_space(grey, "PNG", PATCHES[..., 0]),
        "grey, JPEG": of_space(grey, "JPEG", PATCHES[..., 0], quality=100),
        "CMYK, JPEG": of_space(SPACES["cmyk"], "JPEG", INKS, **best),
        "CMYK, TIFF": of_space(SPACES["cmyk"], "TIFF", INKS),
        "XYB, JPEG": of_space(SPACES["xyb"], "JPEG", xyb, quality=100, subsampling=0, keep_rgb=True),
        "prophoto, WEBP": of_space(prophoto, "WEBP", PATCHES, lossless=True),
        "prophoto, TIFF": of_space(prophoto, "TIFF", PATCHES),
        "prophoto, AVIF": of_space(prophoto, "AVIF", PATCHES, quality=100, subsampling="4:4:4"),
        "prophoto, BMP": Case(bitmap(PATCHES, prophoto.profile), profiles.expected(prophoto.to_xyz(PATCHES / 255))),
    }
    in_grey = png(PATCHES[..., 0], icc_profile=prophoto.profile)
    cases["RGB profile of a grey PNG"] = Case(
        in_grey, profiles.expected(prophoto.to_xyz(PATCHES[..., :1].repeat(3, axis=-1) / 255))
    )
    palette = Image.fromarray(PATCHES).quantize(64)
    cases["prophoto, palette"] = Case(
        encoded(palette, "PNG", icc_profile=prophoto.profile),
        profiles.expected(prophoto.to_xyz(np.asarray(palette.convert("RGB")) / 255)),
    )
    cases |= {
        "gAMA, linear": Case(with_chunks(plain, gama(1)), meant(profiles.SRGB, lambda values: values)),
        "gAMA and cHRM": Case(
            with_chunks(plain, gama(1 / 1.8), chrm(profiles.APPLE)), meant(profiles.APPLE, lambda values: values**1.8)
        ),
        "cICP, Display P3": Case(with_chunks(plain, cicp(12, 13)), meant(profiles.P3, profiles.srgb_curve)),
        "cICP, BT.2020 and BT.709's curve": Case(
            with_chunks(plain, cicp(9, 1)), meant(profiles.BT2020, lambda values: values**2.4)
        ),
        "cICP, BT.2020, linear": Case(with_chunks(plain, cicp(9, 8)), meant(profiles.BT2020, lambda values: values)),
        "cICP before iCCP": Case(
            with_chunks(png(PATCHES, icc_profile=prophoto.profile), cicp(12, 13)),
            meant(profiles.P3, profiles.srgb_curve),
        ),
        "iCCP before gAMA": Case(
            with_chunks(png(PATCHES, icc_profile=p3.profile), gama(1)), profiles.expected(p3.to_xyz(PATCHES / 255))
        ),
    }
    whole, first, second = slice(None), slice(200), slice(200, None)
    for name, parts in {
        "two parts": ((1, 2, first), (2, 2, second)),
        "two parts, the second first": ((2, 2, second), (1, 2, first)),
        "a part that comes twice": ((1, 1, whole), (1, 1, whole)),
    }.items():
        content = jpeg_in_parts(prophoto.profile, *parts)
        cases[f"JPEG profile in {name}"] = Case(content, profiles.expected(prophoto.to_xyz(stored_in(content) / 255)))
    for name, transfer in {"PQ": 16, "HLG": 18}.items():
        cases[f"cICP, {name}"] = Case(with_chunks(plain, cicp(9, transfer)), profiles.toned(PATCHES, transfer))
        content = _avif(9, transfer)
        cases[f"nclx, {name}"] = Case(content, profiles.toned(stored_in(content), transfer))
    for name, (primaries, transfer, points) in {
        "nclx, Display P3": (12, 13, profiles.P3),
        "nclx, BT.2020 and BT.709's curve": (9, 1, profiles.BT2020),
    }.items():
        content = _avif(primaries, transfer)
        cases[name] = Case(content, meant(points, profiles.srgb_curve, stored_in(content)))
    return cases


def unchanged() -> dict[str, bytes]:
    """Return files whose pixels are shown as they are stored: untagged, in sRGB, or tagged wrongly."""
    plain = png(PATCHES)
    profile = SPACES["prophoto"].profile
    return {
        "untagged PNG": plain,
        "untagged grey": png(PATCHES[..., 0]),
        "sRGB profile": png(PATCHES, icc_profile=profiles.matrix_space(profiles.SRGB).profile),
        "sRGB chunk before gAMA": with_chunks(plain, chunk(b"sRGB", b"\0"), gama(1)),
        "gAMA of sRGB": with_chunks(plain, gama(0.45455)),
        "gAMA and cHRM of sRGB": with_chunks(plain, gama(0.45455), chrm(profiles.SRGB)),
        "cHRM alone": with_chunks(plain, chrm(profiles.ADOBE)),
        "gAMA of no display": with_chunks(plain, gama(0.001)),
        "cHRM of one colour": with_chunks(plain, gama(1), chrm(((0.3, 0.3), (0.3, 0.3), (0.3, 0.3)))),
        "cHRM outside of colours": with_chunks(plain, gama(1), chrm(((9, 9), (0.3, 0), (0.15, 0.06)))),
        "cICP of sRGB": with_chunks(plain, cicp(1, 13)),
        "cICP that is not known": with_chunks(plain, cicp(77, 77)),
        "cICP without a curve": with_chunks(plain, cicp(9, 2)),
        "cICP, short": with_chunks(plain, chunk(b"cICP", b"\x0c")),
        "cICP of samples from 16 to 235": with_chunks(plain, chunk(b"cICP", bytes((12, 13, 0, 0)))),
        "JPEG profile without its second part": jpeg_in_parts(profile, (1, 2, slice(200))),
        "JPEG profile whose parts count from 0": jpeg_in_parts(profile, (0, 2, slice(200)), (1, 2, slice(200, None))),
        "profile cut short": png(PATCHES, icc_profile=profile[:300]),
        "profile of zeros": png(PATCHES, icc_profile=profile[:200] + bytes(len(profile) - 200)),
        "profile without light": png(PATCHES, icc_profile=profiles.matrix_space(profiles.SRGB, 60.0).profile[:128]),
        "profile of text": png(PATCHES, icc_profile=b"sRGB"),
        "grey profile of a colour PNG": png(PATCHES, icc_profile=SPACES["grey-gamma-1.8"].profile),
        "CMYK profile of an RGB JPEG": encoded(
            Image.fromarray(PATCHES), "JPEG", quality=100, icc_profile=SPACES["cmyk"].profile
        ),
        "RGB profile of a CMYK JPEG": encoded(Image.fromarray(INKS, "CMYK"), "JPEG", icc_profile=profile),
        "BMP without a profile": encoded(Image.fromarray(PATCHES), "BMP"),
        "BMP whose profile is not there": bitmap(PATCHES, profile)[: -len(profile)],
    }
