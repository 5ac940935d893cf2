"""JPEG: a copy without damaged segments, its missing end marker, and whether blocks were not decoded."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageStat

JPEG_START: Final = b"\xff\xd8\xff"
JPEG_END: Final = b"\xff\xd9"

BeforeLoad = Callable[[Image.Image], None]
"""Takes an image that is about to be decoded."""

_MIN_ADOBE, _MIN_JFIF = 12, 14  # bytes below which libjpeg, too, ignores such a segment
_TAILS = (b"\x55" * 512, b"\xaa" * 512)  # bits that no scan ends with
_INNER_TAIL = 64  # bytes of a tail within a scan
_MARKER = re.compile(rb"\xff+[^\x00\xff]")  # within a scan, the byte FF is followed by 00
_RESTARTS = range(0xD0, 0xD8)
_WITHOUT_LENGTH = {0, 1, *_RESTARTS}  # 0 is no marker
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_GREY = (126, 130)  # around what libjpeg gives for a block that it has no data for: 128, of CMYK 127
_SCAN, _LAST = 0xDA, 0xD9  # markers of the start of a scan, and of the end


def jpeg_without_extras(content: bytes) -> bytes:
    """Return a JPEG without segments of applications, but for complete ones that say something of its picture."""
    parts, rest = [content[:2]], 2
    for marker, start, end in jpeg_segments(content):
        body = content[start + 4 : end]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _keeps(marker, body):
            parts.append(content[start:end])
        rest = end
    return b"".join((*parts, content[rest:]))


def jpeg_with_end(content: bytes, max_pixels: int, before_load: BeforeLoad) -> bytes:
    """Return a JPEG with its end marker, if that is all that it lacks; else as it is.

    The JPEG is decoded three times, if it has at most `max_pixels`. `before_load` is called with the image each time
    before that.
    """
    whole = content.rstrip(b"\xff")
    if JPEG_END in content[-64:] or not _scans_are_all_there(whole):
        return content
    return whole + JPEG_END if _same_with_tails([whole], max_pixels, before_load) else content


def has_lost_blocks(image: Image.Image, content: bytes, max_pixels: int, before_load: BeforeLoad) -> bool:
    """Return whether data of a JPEG end before its last blocks, which libjpeg then fills with grey and Pillow accepts.

    `image` is the decoded JPEG, at any of the sizes that libjpeg can reduce it to. Only if it is grey where data end
    (at the end of the picture, and of each restart interval) is the JPEG decoded three times more, each time after
    `before_load` was called with it.
    """
    frame = _frame(content)
    if frame is None or not _ends_grey(image, frame):
        return False
    pieces = list(_scan_pieces(content))
    if not frame.progressive and len(pieces) < frame.intervals:
        return True
    return bool(pieces) and not _same_with_tails(pieces, max_pixels, before_load)


@dataclass(frozen=True)
class _Frame:
    """What a JPEG says of its picture: its size in pixels, that of its blocks, and blocks in a restart interval."""

    width: int
    height: int
    block_width: int
    block_height: int
    interval: int
    progressive: bool

    @property
    def columns(self) -> int:
        return -(-self.width // self.block_width)

    @property
    def rows(self) -> int:
        return -(-self.height // self.block_height)

    @property
    def intervals(self) -> int:
        """Return how many restart intervals a scan has, 1 without restart markers."""
        return -(-self.columns * self.rows // self.interval) if self.interval else 1


def _frame(content: bytes) -> _Frame | None:
    interval, frame = 0, b""
    progressive = False
    for marker, start, end in jpeg_segments(content):
        body = content[start + 4 : end]
        if marker == 0xDD and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif _is_frame(marker) and len(body) >= 9:
            frame, progressive = body, marker in _PROGRESSIVE
    if not frame:
        return None
    factors = frame[7::3]  # of the components
    across, down = (max(8 * (factor >> 4) for factor in factors), max(8 * (factor & 15) for factor in factors))
    if len(factors) == 1:
        across = down = 8  # whatever its factors: a single component is not interleaved
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return _Frame(width, height, across, down, interval, progressive) if width and height and across and down else None


def _ends_grey(image: Image.Image, frame: _Frame) -> bool:
    """Return whether the last block of the picture, or of a restart interval, is grey, as if it were not decoded."""
    columns, rows = frame.columns, frame.rows
    width = frame.block_width * image.width / frame.width
    height = frame.block_height * image.height / frame.height
    corner = min(int((columns - 1) * width), image.width - 1), min(int((rows - 1) * height), image.height - 1)
    if _is_grey(ImageStat.Stat(image.crop((*corner, *image.size))).mean):
        return True
    if frame.progressive or not frame.interval:
        return False
    pixels: Any = image.load()
    for block in range(frame.interval - 1, columns * rows, frame.interval):
        down, across = divmod(block, columns)
        at = min(int((across + 0.5) * width), image.width - 1), min(int((down + 0.5) * height), image.height - 1)
        value = pixels[at]
        if _is_grey(value if isinstance(value, tuple) else (value,)):
            return True
    return False


def _is_grey(values: Sequence[float]) -> bool:
    return all(_GREY[0] <= value <= _GREY[1] for value in values)


def _same_with_tails(pieces: Sequence[bytes], max_pixels: int, before_load: BeforeLoad) -> bool:
    """Return whether a JPEG shows the same whatever stands behind each of its pieces, the last of which gets an end.

    Once the last block is decoded, what follows it changes nothing. If the data are cut short, their last blocks are
    made of these bits.
    """
    *inner, last = pieces
    pictures = set()
    for tail in (b"", *_TAILS):
        whole = b"".join(piece + tail[:_INNER_TAIL] for piece in inner) + last + tail + JPEG_END
        pictures.add(_pixels_digest(whole, max_pixels, before_load))
    return len(pictures) == 1 and None not in pictures


def _scan_pieces(content: bytes) -> Iterator[bytes]:
    """Yield a JPEG in pieces, each of which ends where the data of a scan or of a restart interval do."""
    begin, at = 0, 2
    while True:
        data = next((end for marker, _, end in jpeg_segments(content, at) if marker == _SCAN), None)
        if data is None:
            return
        for marker in _MARKER.finditer(content, data):
            yield content[begin : marker.start()]
            begin = at = marker.start()
            if marker[0][-1] not in _RESTARTS:
                break
        else:
            yield content[begin:]
            return


def jpeg_segments(content: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, the start and the end of each segment from `at` up to a scan, which is the last yielded.

    As libjpeg does, it skips what stands between segments.
    """
    while 0 <= (at := content.find(b"\xff", at)) <= len(content) - 4:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _LAST:
            return
        else:
            end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            yield marker, at, end
            if marker == _SCAN:
                return
            at = end


def _keeps(marker: int, body: bytes) -> bool:
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


def _pixels_digest(content: bytes, max_pixels: int, before_load: BeforeLoad) -> bytes | None:
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
