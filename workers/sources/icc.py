"""Build the ICC profile of a colour space that a file describes by numbers: primaries, white, transfer function.

The code points are those of ITU-T H.273, which PNG (cICP) and AVIF (nclx) use.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

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
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of ICC's connection space
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def build(primaries: Primaries, curve: Curve) -> bytes:
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


def _to_d50(primaries: Primaries) -> NDArray[np.float64]:
    """Return the 3 x 3 matrix from linear RGB to XYZ, adapted to D50."""
    if not all(0 < y < 1 and 0 <= x <= 1 for x, y in primaries):
        raise ValueError("The primaries are outside of the diagram of colours.")
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries)
    columns = np.stack(colours, axis=1)
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError("The primaries lie on a line.")
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = (
        np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ (columns * np.linalg.solve(columns, white))
    )
    return adapted
