"""ICC profiles of every kind that photos carry, made from formulas, and the sRGB colours that they mean.

A `Space` is described twice: by its ICC profile, and by a function from stored values to XYZ. Tests compare what is
decoded with `expected`, which uses the function alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

D65, D50_XY = (0.3127, 0.3290), (0.34567, 0.35850)
SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3: Primaries = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE: Primaries = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO: Primaries = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
APPLE: Primaries = ((0.625, 0.340), (0.280, 0.595), (0.155, 0.070))
BT2020: Primaries = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz_of(point: tuple[float, float]) -> Floats:
    """Return the XYZ of a chromaticity, with Y 1."""
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_d50(white: tuple[float, float]) -> Floats:
    """Return the 3 x 3 matrix that adapts XYZ from this white to D50 (Bradford)."""
    gains = (_BRADFORD @ D50) / (_BRADFORD @ xyz_of(white))
    adaptation: Floats = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return adaptation


def rgb_to_xyz(primaries: Primaries, white: tuple[float, float] = D65) -> Floats:
    """Return the 3 x 3 matrix from linear RGB to XYZ under D50."""
    columns = np.stack([xyz_of(point) for point in primaries], axis=1)
    return to_d50(white) @ (columns * np.linalg.solve(columns, xyz_of(white)))


def srgb_curve(values: Floats) -> Floats:
    """Return linear light of sRGB values, 0 to 1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_encoded(linear: Floats) -> Floats:
    """Return sRGB values of linear light, clipped to 0..1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def expected(xyz: Floats) -> NDArray[np.uint8]:
    """Return the sRGB pixels, uint8, of XYZ under D50 (relative colorimetric)."""
    linear = xyz @ np.linalg.inv(rgb_to_xyz(SRGB)).T
    return np.rint(255 * srgb_encoded(linear)).astype(np.uint8)


# What Chromium 156 shows of grey light in PQ and HLG, a white page of 203 cd/m2 being 1: light, and linear sRGB.
_LIGHT = [0, 1, 1.122, 1.504, 1.558, 2.026, 2.416, 2.74, 3.717, 4.926, 50]
_SHOWN = [0, 0.5, 0.552, 0.659, 0.665, 0.7456, 0.800, 0.838, 0.922, 1, 1]


def toned(stored: NDArray[np.uint8], transfer: int) -> NDArray[np.uint8]:
    """Return the sRGB pixels of stored values in BT.2020 and PQ (16) or HLG (18), by what was measured."""
    values, matrix = stored / 255, rgb_to_xyz(BT2020)
    if transfer == 16:
        power = values ** (1 / (2523 / 4096 * 128))
        light = (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
        light *= 10_000 / 203
    else:
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        light = 1000 / 203 * scene * (scene @ matrix[1])[..., None] ** 0.2
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
    return expected(light * np.interp(brightest, _LIGHT, _SHOWN) / brightest @ matrix.T)


@dataclass(frozen=True)
class Space:
    """A colour space: the mode that Pillow stores it in, its ICC profile, and its meaning.

    `to_xyz` takes stored values (..., channels), 0 to 1, and returns XYZ under D50.
    """

    mode: str
    profile: bytes
    to_xyz: Callable[[Floats], Floats]


def _number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _parametric(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_number, values))


def _xyz_tag(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_number, values))


def _text(text: str) -> bytes:
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(text), 28) + text.encode("utf-16-be")


def icc(space: bytes, tags: dict[bytes, bytes], *, pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """Return an ICC profile, version 4.3, of a colour space (b"RGB ", b"GRAY", b"CMYK") with these tags."""
    tags = {b"desc": _text("test"), b"cprt": _text("CC0"), b"wtpt": _xyz_tag(D50)} | tags
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s12x4s28x", place + len(body), b"test", 0x04300000, kind, space, pcs, b"acsp")
    header += b"".join(map(_number, D50))
    return header.ljust(128, b"\0") + table + body


def matrix_space(primaries: Primaries, gamma: float | None = None, white: tuple[float, float] = D65) -> Space:
    """Return an RGB space of three primaries; without `gamma` its curve is that of sRGB."""
    matrix = rgb_to_xyz(primaries, white)
    curve = _parametric(0, gamma) if gamma else _parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {letter + b"TRC": curve for letter in (b"r", b"g", b"b")}
    tags |= {letter + b"XYZ": _xyz_tag(column) for letter, column in zip((b"r", b"g", b"b"), matrix.T, strict=True)}
    return Space(
        "RGB",
        icc(b"RGB ", tags),
        lambda values: (values**gamma if gamma else srgb_curve(values)) @ matrix.T,
    )


def grey_space(gamma: float) -> Space:
    """Return a grey space."""
    return Space("L", icc(b"GRAY", {b"kTRC": _parametric(0, gamma)}), lambda values: values**gamma * D50)


def _lab(xyz: Floats) -> Floats:
    ratio = xyz / D50
    cubed = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack(
        [
            116 * cubed[..., 1] - 16,
            500 * (cubed[..., 0] - cubed[..., 1]),
            200 * (cubed[..., 1] - cubed[..., 2]),
        ],
        axis=-1,
    )


def _ink_xyz(values: Floats) -> Floats:
    """Return what inks look like: each lets through a share of the light of every primary, and paper is white."""
    passed = np.array([[0.05, 0.45, 0.75], [0.60, 0.06, 0.30], [0.95, 0.80, 0.08], [0.04, 0.04, 0.04]])
    light = np.prod(1 - values[..., :, None] * (1 - passed), axis=-2)
    xyz: Floats = light @ rgb_to_xyz(SRGB).T
    return xyz


def cmyk_space() -> Space:
    """Return a CMYK space as printers' profiles describe one: a table of 11 points a channel, in Lab (lut16)."""
    points = 11
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * 4, indexing="ij"), axis=-1)
    lab = _lab(_ink_xyz(grid)).reshape(-1, 3)
    codes = np.rint(np.clip((lab + np.array([0, 128, 128])) * [652.8, 256, 256], 0, 65535)).astype(">u2")
    straight = struct.pack(">HH", 0, 65535)
    identity = b"".join(_number(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft2\0\0\0\0" + struct.pack(">BBBx", 4, 3, points) + identity + struct.pack(">HH", 2, 2)
    table += 4 * straight + codes.tobytes() + 3 * straight
    return Space("CMYK", icc(b"CMYK", {b"A2B0": table}, pcs=b"Lab ", kind=b"prtr"), _ink_xyz)


# The constants of XYB, from the JPEG XL standard (ISO/IEC 18181-1) and its scaled form for JPEG.
_XYB_OFFSET, _XYB_SCALE = np.array([0.015386134, 0.0, 0.27770459]), np.array([22.995788804, 1.183000077, 1.502141333])
_XYB_BIAS = 0.0037930732552754493
_TO_LINEAR = np.linalg.inv(
    [
        [0.30, 0.622, 0.078],
        [0.23, 0.692, 0.078],
        [0.24342268924547819, 0.20476744424496821, 0.5518098665095536],
    ]
)


def _cones_of(values: Floats) -> Floats:
    """Return the cube roots of cone responses, (..., 3), of scaled XYB; the third channel holds B - Y."""
    x, y, b = np.moveaxis(values / _XYB_SCALE - _XYB_OFFSET, -1, 0)
    return np.stack([y + x, y - x, b + y], axis=-1)


def _xyb_xyz(values: Floats) -> Floats:
    cones = (_cones_of(values) + np.cbrt(_XYB_BIAS)) ** 3 - _XYB_BIAS
    xyz: Floats = cones @ (rgb_to_xyz(SRGB) @ _TO_LINEAR).T
    return xyz


def xyb_of(linear: Floats) -> Floats:
    """Return the scaled XYB values, 0 to 1, of linear sRGB."""
    cones = np.cbrt(linear @ np.linalg.inv(_TO_LINEAR).T + _XYB_BIAS) - np.cbrt(_XYB_BIAS)
    long, middle, short = np.moveaxis(cones, -1, 0)
    x, y = (long - middle) / 2, (long + middle) / 2
    scaled: Floats = np.clip((np.stack([x, y, short - y], axis=-1) + _XYB_OFFSET) * _XYB_SCALE, 0, 1)
    return scaled


def xyb_space() -> Space:
    """Return the space of an XYB JPEG: a table of 2 points a channel, a cubic curve and a matrix (lutAToB)."""
    corners = np.stack(np.meshgrid(*[np.linspace(0, 1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cones = _cones_of(corners)
    low, span = cones.min(axis=0), np.ptp(cones, axis=0)
    codes = np.rint(65535 * (cones - low) / span).astype(">u2").tobytes()
    straight = 3 * _parametric(0, 1.0)
    offset = low + np.cbrt(_XYB_BIAS)
    curves = b"".join(
        _parametric(3, 3, width, start, 0, max(0.0, -start / width)) for width, start in zip(span, offset, strict=True)
    )
    matrix = rgb_to_xyz(SRGB) @ _TO_LINEAR * 32768 / 65535
    constants = -matrix.sum(axis=1) * _XYB_BIAS
    table = bytes([2, 2, 2]).ljust(16, b"\0") + b"\2\0\0\0" + codes
    body = straight + table + curves + b"".join(map(_number, [*matrix.ravel(), *constants]))
    b_curves, clut = 32, 32 + len(straight)
    m_curves = clut + len(table)
    head = b"mAB \0\0\0\0" + struct.pack(">BBxxIIIII", 3, 3, b_curves, m_curves + len(curves), m_curves, clut, b_curves)
    return Space("RGB", icc(b"RGB ", {b"A2B0": head + body}), _xyb_xyz)


SPACES: dict[str, Space] = {
    "display-p3": matrix_space(P3),
    "adobe-rgb": matrix_space(ADOBE, 563 / 256),
    "prophoto": matrix_space(PROPHOTO, 1.8, D50_XY),
    "apple-rgb": matrix_space(APPLE, 1.8),
    "grey-gamma-1.8": grey_space(1.8),
    "cmyk": cmyk_space(),
    "xyb": xyb_space(),
}
