"""Small image files with more than eight bits a channel, or whose first frame leaves a margin, and their pixels."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.colour_files import Case, chunk, encoded

_WHITE = 255
Samples = NDArray[np.uint16]


def png_16(samples: Samples, transparent: tuple[int, ...] | None = None) -> bytes:
    """Return 16-bit samples (H, W) or (H, W, 3) as a PNG, with the value or colour that is transparent."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    )


def png_of_few_bits(samples: NDArray[np.integer], bits: int, transparent: int) -> bytes:
    """Return grey samples (H, W) of 1, 2 or 4 bits as a PNG, with the value that is transparent."""
    height, width = samples.shape
    digits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :].reshape(height, -1)
    body = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"tRNS": struct.pack(">H", transparent), b"IDAT": zlib.compress(body), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks.items())


def tiff(
    samples: NDArray[np.integer],
    *,
    bits: int = 16,
    order: str = "<",
    compressed: bool = False,
    white_is_zero: bool = False,
) -> bytes:
    """Return samples (H, W) or (H, W, 3 or 4) as a TIFF with one strip. 12 bits are packed, two samples in 3 bytes."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if bits == 12:
        digits = "".join(f"{value:03x}" for value in samples.ravel())
        body = bytes.fromhex(digits)
    else:
        body = samples.astype(f"{order}u{bits // 8}").tobytes()
    if compressed:
        body = zlib.compress(body)
    count = {256: width, 257: height, 259: 8 if compressed else 1, 262: 0 if white_is_zero else min(channels, 2)}
    place = 8
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels).ljust(8, b"\0")
    tags = [(tag, 3, 1, struct.pack(f"{order}Hxx", value)) for tag, value in count.items()]
    depth_field = struct.pack(f"{order}Hxx", bits) if channels == 1 else struct.pack(f"{order}I", place)
    tags += [(258, 3, channels, depth_field), (277, 3, 1, struct.pack(f"{order}Hxx", channels))]
    tags += [(273, 4, 1, struct.pack(f"{order}I", place + 8)), (279, 4, 1, struct.pack(f"{order}I", len(body)))]
    tags += [(278, 3, 1, struct.pack(f"{order}Hxx", height))]
    if channels == 4:
        tags += [(338, 3, 1, struct.pack(f"{order}Hxx", 2))]
    directory = struct.pack(f"{order}H", len(tags))
    directory += b"".join(struct.pack(f"{order}HHI", *tag[:3]) + tag[3] for tag in sorted(tags)) + bytes(4)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    padded = body + bytes(len(body) % 2)
    return mark + struct.pack(f"{order}I", place + 8 + len(padded)) + depths + padded + directory


def tiff_in_planes(samples: NDArray[np.uint16]) -> bytes:
    """Return 16-bit samples (H, W, 3 or 4) as an uncompressed TIFF that stores each channel apart."""
    extra: Any = {"extrasample": "unassalpha"} if samples.shape[2] == 4 else {}
    planes = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
    return bytes(imagecodecs.tiff_encode(planes, planarconfig="separate", photometric="rgb", **extra))


def gif_with_margin(transparent: int | None = None) -> bytes:
    """Return a GIF with a screen of 12 x 10 pixels whose first frame, 4 x 3, lies at (5, 2)."""
    small = Image.new("P", (4, 3), 1)
    small.putpalette([10, 20, 30, 200, 100, 50])
    options = {} if transparent is None else {"transparency": transparent}
    content = bytearray(encoded(small, "GIF", **options))
    content[6:10] = struct.pack("<HH", 12, 10)
    place = content.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 4, 3))
    content[place + 1 : place + 5] = struct.pack("<HH", 5, 2)
    return bytes(content)


def webp_with_margin() -> bytes:
    """Return an animated WebP without alpha, 12 x 10 pixels, whose first frame, 4 x 3, lies at (4, 2)."""

    def three(value: int) -> bytes:
        return value.to_bytes(3, "little")

    def part(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    picture = encoded(Image.new("RGB", (4, 3), (200, 100, 50)), "WEBP", lossless=True)[12:]
    frame = three(2) + three(1) + three(3) + three(2) + three(100) + b"\2" + picture
    body = b"WEBP" + part(b"VP8X", b"\2\0\0\0" + three(11) + three(9)) + part(b"ANIM", b"\xff\xff\xff\xff\0\0")
    return part(b"RIFF", body + part(b"ANMF", frame))


def _on_white(box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, right, bottom = box
    pixels = np.full((10, 12, 3), _WHITE, np.uint8)
    pixels[top:bottom, left:right] = (200, 100, 50)
    return pixels


def _grey(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


def shown_by_browsers() -> dict[str, Case]:
    """Return the files that a browser shows too."""
    grey = np.array([[0x1234, 0x1235], [0x8000, 0xFFFF]], np.uint16)
    colours = np.stack([grey, grey, grey], axis=-1)
    colours[0, 0, 2] = 0x99FF
    few = np.arange(16).reshape(2, 8)
    key_grey, key_colour = _grey(grey >> 8), (colours >> 8).astype(np.uint8)
    key_grey[0, 0] = key_colour[0, 0] = _WHITE
    return {
        "16-bit grey PNG, transparent value": Case(png_16(grey, (0x1234,)), key_grey),
        "16-bit RGB PNG, transparent colour": Case(png_16(colours, (0x1234, 0x1234, 0x99FF)), key_colour),
        "16-bit RGB PNG, no such colour": Case(
            png_16(colours, (0x1235, 0x1234, 0x99FF)), (colours >> 8).astype(np.uint8)
        ),
        **{
            f"{bits}-bit grey PNG, transparent value": Case(
                png_of_few_bits(few % 2**bits, bits, 1), _grey(np.where(few % 2**bits == 1, 255, few % 2**bits * scale))
            )
            for bits, scale in ((1, 255), (2, 85), (4, 17))
        },
        "GIF with a margin": Case(gif_with_margin(), _on_white((5, 2, 9, 5))),
        "GIF with a margin and a transparent entry": Case(gif_with_margin(0), _on_white((5, 2, 9, 5))),
        "WebP with a margin": Case(webp_with_margin(), _on_white((4, 2, 8, 5))),
    }


def of_tiff() -> dict[str, Case]:
    """Return TIFFs whose samples use 8 to 32 bits."""
    ramp = np.array([[0, 256, 1024], [2048, 3072, 4095]], np.uint16)
    deep, byte = ramp.astype(np.uint32), np.array([[0, 100, 255]], np.uint16)
    colours = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1)
    with_alpha = np.concatenate([colours, np.full((2, 3, 1), 65535, np.uint16)], axis=-1)
    full, eight = ramp * 16, (colours >> 4).astype(np.uint8)
    night = np.array([[0, 0x4000, 0x4100]], np.uint16)
    cases = {
        "12 bits, packed": Case(
            tiff(np.pad(ramp, ((0, 0), (0, 1))), bits=12), _grey(np.pad(ramp, ((0, 0), (0, 1))) >> 4)
        ),
        "8 bits in 16": Case(tiff(byte), _grey(byte)),
        "16 bits of 16": Case(tiff(full), _grey(full >> 8)),
        "15 bits in 16, as 16": Case(tiff(night), _grey(night >> 8)),
        "12 bits in 32": Case(tiff(deep, bits=32), _grey(ramp >> 4)),
        "32 bits of 32": Case(tiff(deep << 20, bits=32), _grey(ramp >> 4)),
        "16 bits, white is zero": Case(tiff(full, white_is_zero=True), 255 - _grey(full >> 8)),
        "12 bits in 16, white is zero": Case(tiff(ramp, white_is_zero=True), 255 - _grey(ramp >> 4)),
        "16 bits in planes": Case(tiff_in_planes(colours * 16), eight),
        "16 bits in planes, with alpha": Case(
            tiff_in_planes(np.where(with_alpha == 65535, 65535, with_alpha * 16)), eight
        ),
        "28 bits in 32": Case(tiff(deep << 16, bits=32), _grey(ramp >> 4)),
        "16 bits of 16, colours": Case(tiff(colours * 16), eight),
        "12 bits in 16, colours, with alpha": Case(tiff(with_alpha), eight),
    }
    for used in (10, 12, 14):
        values = ramp >> (12 - used) if used < 12 else ramp << (used - 12)
        cases[f"{used} bits in 16"] = Case(tiff(values), _grey(values >> (used - 8)))
    for order in "<>":
        for compressed in (False, True):
            name = f"{order}, {'deflate' if compressed else 'raw'}"
            cases[f"12 bits in 16, grey, {name}"] = Case(
                tiff(ramp, order=order, compressed=compressed), _grey(ramp >> 4)
            )
            cases[f"12 bits in 16, colours, {name}"] = Case(tiff(colours, order=order, compressed=compressed), eight)
    return cases
