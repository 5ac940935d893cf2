"""The colour spaces that a file describes by numbers: primaries, white, transfer function.

The code points are those of ITU-T H.273, which PNG (cICP) and AVIF (nclx) use. A space becomes an ICC profile, or, if
it holds lights brighter than white (PQ and HLG, "HDR"), a table.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

Floats = NDArray[np.float64]
Point = tuple[float, float]  # a CIE 1931 chromaticity: x, y
Primaries = tuple[Point, Point, Point, Point]  # red, green, blue, white
# Linear light of a stored value v is (a v + b) ** g from v = d on, and c v below: (g, a, b, c, d) of an ICC curve.
Curve = tuple[float, float, float, float, float]

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_SMPTE_170M: Primaries = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # the P3 of cinemas
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
CAMERA_CURVES = {1, 6, 11, 14, 15}  # those of BT.709 and its kin, for which viewers do not use the inverse
CURVES: dict[int, Curve] = {
    4: (2.2, 1, 0, 1, 0),
    5: (2.8, 1, 0, 1, 0),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 4 * 0.0228),
    8: (1, 1, 0, 1, 0),
    13: SRGB_CURVE,
    17: (2.6, (52.37 / 48) ** (1 / 2.6), 0, 1, 0),
}
_PQ, _HLG = 16, 18
HDR_CURVES = {_PQ, _HLG}
_WHITE = 203  # cd/m2 of a white page among brighter lights, by ITU-R BT.2408
_PEAK = 1000 / _WHITE  # the brightest light that is told from white, a white page being 1
_BEND = 1.64  # where the tangents of Chromium's tone curve meet, measured: it is linear to 1, then bends to _PEAK
_GRID = 65
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of ICC's connection space
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_of(primaries: Primaries, curve: Curve) -> bytes:
    """Return an ICC profile (version 4, RGB, matrix and curves) of this space.

    Raises ValueError if the primaries span no space.
    """
    values = struct.pack(">4sxxxxHxx", b"para", 3) + _fixed(*curve)
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + _fixed(*_D50))]
    for name, column in zip((b"r", b"g", b"b"), _to_d50(primaries).T, strict=True):
        tags += [(name + b"XYZ", b"XYZ \0\0\0\0" + _fixed(*column)), (name + b"TRC", values)]
    place = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += content  # each is a multiple of four bytes long, as ICC wants it
    header = struct.pack(">I4xI4s4s4s12x4s28x", place + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (header + _fixed(*_D50)).ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    """Return numbers as ICC stores them: 32 bits, of which 16 are after the point."""
    try:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
    except (struct.error, OverflowError) as error:
        raise ValueError("The colour space has a number that an ICC profile cannot hold.") from error


def _to_d50(primaries: Primaries) -> Floats:
    """Return the 3 x 3 matrix from linear RGB to XYZ, adapted to D50."""
    if not all(0 < y < 1 and 0 <= x <= 1 for x, y in primaries):
        raise ValueError("The primaries are outside of the diagram of colours.")
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries)
    columns = np.stack(colours, axis=1)
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError("The primaries lie on a line.")
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: Floats = (
        np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ (columns * np.linalg.solve(columns, white))
    )
    return adapted


@lru_cache(maxsize=2)
def hdr_table(primaries: int, transfer: int) -> ImageFilter.Color3DLUT:
    """Return the table from stored values in PQ or HLG to sRGB, with brighter lights toned down as Chromium does."""
    levels = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")  # red changes fastest in Pillow's tables
    stored = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    to_xyz = _to_d50(PRIMARIES[primaries])
    light = _pq_light(stored) if transfer == _PQ else _hlg_light(stored, to_xyz[1])
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
    linear = light * (_toned(brightest) / brightest) @ (np.linalg.inv(_to_d50(SRGB)) @ to_xyz).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ImageFilter.Color3DLUT(_GRID, encoded.astype(np.float32).ravel())


def _pq_light(stored: Floats) -> Floats:
    """Return linear light, 1 being a white page, of values in PQ (SMPTE ST 2084)."""
    power = stored ** (32 / 2523)
    light: Floats = (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
    return 10_000 / _WHITE * light


def _hlg_light(stored: Floats, luminance: Floats) -> Floats:
    """Return linear light, 1 being a white page, of values in HLG (ITU-R BT.2100) on a display of 1000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(stored <= 0.5, stored**2 / 3, (np.exp((stored - c) / a) + b) / 12)
    light: Floats = _PEAK * scene * np.maximum(scene @ luminance, 0)[..., None] ** 0.2
    return light


def _toned(light: Floats) -> Floats:
    """Return what is shown, 0 to 1, of the brightest channel: a half up to white, then a parabola up to the peak."""
    span = 1 - 2 * _BEND + _PEAK
    place = (np.sqrt((_BEND - 1) ** 2 + span * np.maximum(light - 1, 0)) - (_BEND - 1)) / span
    bent = 0.5 * (1 - place) ** 2 + place * (1 - place) * _BEND + place**2
    toned: Floats = np.where(light <= 1, light / 2, np.where(light >= _PEAK, 1.0, bent))
    return toned
