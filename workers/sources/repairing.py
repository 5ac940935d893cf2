"""Repair a file that is damaged beside its pixels, so that it is shown as a browser shows it.

Pillow refuses a whole PNG or JPEG for one bad chunk of text or one short segment, and a JPEG that lacks only its end
marker. Browsers ignore such damage. What is done here never invents a pixel.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from PIL import Image

MAX_INFLATED: Final = 8_000_000  # bytes of a compressed text or profile of a PNG; libpng's limit in browsers

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_PNG_SIZES = {b"gAMA": {4}, b"cHRM": {32}, b"sRGB": {1}, b"cICP": {4}}  # of the chunks that say how colours are meant
_TRNS_SIZES = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}  # by the colour type of the PNG
_MIN_ADOBE, _MIN_JFIF = 12, 14  # bytes below which libjpeg, too, ignores such a segment
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_TAILS = (b"\x55" * 512, b"\xaa" * 512)  # bits that no scan ends with


def without_extras(content: bytes) -> bytes:
    """Return a PNG, JPEG or AVIF without what stands beside its pixels; any other file as it is.

    Chunks and segments that tell the colours, the transparency and the orientation stay if they are intact.
    """
    if content.startswith(_PNG_START):
        return _png_without_extras(content)
    if content.startswith(_JPEG_START):
        return _jpeg_without_extras(content)
    return _avif_without_exif(content) if content[4:8] == b"ftyp" else content


def with_end(content: bytes, max_pixels: int, before_load: Callable[[Image.Image], None]) -> bytes:
    """Return a JPEG with its end marker, if that is all that it lacks; any other file as it is.

    The JPEG is decoded three times, if it has at most `max_pixels`. `before_load` is called with the image each time
    before that.
    """
    whole = content.rstrip(b"\xff")
    if not content.startswith(_JPEG_START) or _JPEG_END in content[-64:] or not _scans_are_all_there(whole):
        return content
    # Once the last block is decoded, what follows it changes nothing. If the scan is cut short, its last blocks are
    # made of these bits.
    pictures = {_pixels_digest(whole + tail + _JPEG_END, max_pixels, before_load) for tail in (b"", *_TAILS)}
    return whole + _JPEG_END if len(pictures) == 1 and None not in pictures else content


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the kind and body of each chunk, and whether its checksum is right. The last may be cut short."""
    at = len(_PNG_START)
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        yield kind, body, checksum == struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        at += 12 + length


def _png_without_extras(content: bytes) -> bytes:
    parts, at, colour_type = [_PNG_START], len(_PNG_START), content[25] if len(content) > 25 else 0
    for kind, body, intact in _png_chunks(content):
        end = at + 12 + len(body)
        if kind in _PNG_PIXELS or (intact and _png_keeps(kind, body, colour_type)):
            parts.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def _png_keeps(kind: bytes, body: bytes, colour_type: int) -> bool:
    """Return whether a chunk with the right checksum says something of the picture, and can be read."""
    if kind == b"tRNS":
        return len(body) in _TRNS_SIZES.get(colour_type, ())
    if kind == b"iCCP":
        name, _, profile = body.partition(b"\0")
        inflater = zlib.decompressobj()
        try:
            inflater.decompress(profile[1:], MAX_INFLATED)
        except zlib.error:
            return False
        return bool(name) and profile[:1] == b"\0" and inflater.eof
    return kind == b"eXIf" or len(body) in _PNG_SIZES.get(kind, ())


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, the start and the end of each segment up to the first scan, which is the last yielded."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, at, end
        if marker == 0xDA:
            return
        at = end


def _jpeg_without_extras(content: bytes) -> bytes:
    parts, rest = [content[:2]], 2
    for marker, start, end in jpeg_segments(content):
        body = content[start + 4 : end]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _jpeg_keeps(marker, body):
            parts.append(content[start:end])
        rest = end
    return b"".join((*parts, content[rest:]))


def _jpeg_keeps(marker: int, body: bytes) -> bool:
    """Return whether an application's segment says something of the picture, and is complete."""
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= _MIN_JFIF
    if marker == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= _MIN_ADOBE
    return (marker == 0xE1 and body.startswith((b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"))) or (
        marker == 0xE2 and body.startswith(b"ICC_PROFILE\0")
    )


def _scans_are_all_there(content: bytes) -> bool:
    """Return whether the scans that begin in a JPEG give every bit of every coefficient of every component."""
    lowest_bits: dict[int, list[int]] = {}
    for scan in re.finditer(rb"\xff\xda\x00[\x08\x0a\x0c\x0e]([\x01-\x04])", content):
        at, count = scan.end(), scan[1][0]
        if len(content) < at + 2 * count + 3:
            return False
        first, last, bits = content[at + 2 * count], content[at + 2 * count + 1], content[at + 2 * count + 2] & 15
        for component in content[at : at + 2 * count : 2]:
            lowest_bits.setdefault(component, [15] * 64)[first : last + 1] = [bits] * (last + 1 - first)
    components = next(
        (content[start + 10 : end : 3] for marker, start, end in jpeg_segments(content) if _is_frame(marker)), b""
    )
    return bool(components) and all(not any(lowest_bits.get(component, [15])) for component in components)


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}


def _pixels_digest(content: bytes, max_pixels: int, before_load: Callable[[Image.Image], None]) -> bytes | None:
    """Return a digest of the pixels of a JPEG, None if it cannot be decoded or has more than `max_pixels`."""
    digest = hashlib.blake2b()
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.width * image.height > max_pixels:
                return None
            before_load(image)
            image.load()
            for top in range(0, image.height, 256):
                digest.update(image.crop((0, top, image.width, min(image.height, top + 256))).tobytes())
    except Exception:  # noqa: BLE001  Pillow's reader raises OSError, SyntaxError, ValueError, struct.error, and more
        return None
    return digest.digest()


def _avif_without_exif(content: bytes) -> bytes:
    """Return an AVIF whose EXIF block is not looked at; its orientation stands in a box of its own."""
    return re.sub(rb"(infe[\x02\x03].{3}(?:.{4}|.{6}))Exif", rb"\1free", content, count=1, flags=re.DOTALL)
