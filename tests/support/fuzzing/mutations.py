"""Damaged copies of a valid file, as hypothesis strategies: what disks, transfers and programs do to files."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise

from hypothesis import strategies as st

from tests.support.image_files import PNG_START, png_chunks

Mutation = Callable[[bytes], bytes]
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # not RST, which stands within a scan
_MOST = 3  # damages of one file
_BLOCK = 64  # bytes that are lost or come twice


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Give copies of a file with one to three damages; of a PNG also with right checksums after that."""
    whole = st.lists(_mutation(content), min_size=1, max_size=_MOST).map(lambda steps: _applied(content, steps))
    if content.startswith(PNG_START):
        return st.tuples(whole, st.booleans()).map(lambda pair: with_right_checksums(pair[0]) if pair[1] else pair[0])
    return whole


def with_right_checksums(content: bytes) -> bytes:
    """Return a PNG whose chunks all have the checksums of their bodies; other bytes as they are."""
    if not content.startswith(PNG_START):
        return content
    parts = [PNG_START]
    try:
        for _, part in png_chunks(content):
            complete = len(part) >= 12
            parts.append(part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) if complete else part)
    except struct.error:  # the last chunk has no whole header
        parts.append(content[sum(map(len, parts)) :])
    return b"".join(parts)


def _applied(content: bytes, steps: list[Mutation]) -> bytes:
    for step in steps:
        content = step(content)
    return content


def _mutation(content: bytes) -> st.SearchStrategy[Mutation]:
    place, length = st.integers(0, len(content) - 1), st.integers(1, _BLOCK)
    pieces = st.integers(0, max(0, len(list(_pieces(content))) - 1))
    return st.one_of(
        st.builds(_flip, place, st.integers(1, 255)),
        st.builds(_flip, place, st.integers(0, 7).map(lambda bit: 1 << bit)),
        st.builds(_cut, place),
        st.builds(_delete, place, length),
        st.builds(_insert, place, st.binary(min_size=1, max_size=8)),
        st.builds(_repeat, place, length),
        st.builds(_overwrite, place, length, st.sampled_from((0, 255))),
        st.builds(_swap, pieces, pieces),
        st.builds(_drop, pieces),
    )


def _flip(place: int, mask: int) -> Mutation:
    def apply(content: bytes) -> bytes:
        at = place % max(1, len(content))
        return content[:at] + bytes(byte ^ mask for byte in content[at : at + 1]) + content[at + 1 :]

    return apply


def _cut(place: int) -> Mutation:
    return lambda content: content[:place]


def _delete(place: int, length: int) -> Mutation:
    return lambda content: content[:place] + content[place + length :]


def _insert(place: int, more: bytes) -> Mutation:
    return lambda content: content[:place] + more + content[place:]


def _repeat(place: int, length: int) -> Mutation:
    return lambda content: content[: place + length] + content[place:]


def _overwrite(place: int, length: int, value: int) -> Mutation:
    def apply(content: bytes) -> bytes:
        lost = content[place : place + length]
        return content[:place] + bytes((value,)) * len(lost) + content[place + len(lost) :]

    return apply


def _swap(first: int, second: int) -> Mutation:
    def apply(content: bytes) -> bytes:
        pieces = list(_pieces(content))
        if max(first, second) < len(pieces):
            pieces[first], pieces[second] = pieces[second], pieces[first]
        return b"".join(pieces)

    return apply


def _drop(place: int) -> Mutation:
    return lambda content: b"".join(piece for index, piece in enumerate(_pieces(content)) if index != place)


def _pieces(content: bytes) -> Iterator[bytes]:
    """Yield the parts that a file is made of: the chunks of a PNG or WebP, the segments of a JPEG, boxes of an AVIF.

    Other files are cut into 16 equal parts.
    """
    starts = [*_starts(content), len(content)]
    yield from (content[start:end] for start, end in pairwise(starts))


def _starts(content: bytes) -> list[int]:
    if content.startswith(b"\xff\xd8"):
        return [0, *(match.start() for match in _JPEG_MARKER.finditer(content, 2))]
    if content.startswith(PNG_START):
        return _chunk_starts(content, len(PNG_START), ">I4x", 12)
    if content.startswith(b"RIFF"):
        return _chunk_starts(content, 12, "<4xI", 8)
    if content[4:8] == b"ftyp":
        return _chunk_starts(content, 0, ">I4x", 0)
    return list(range(0, len(content), max(1, -(-len(content) // 16))))


def _chunk_starts(content: bytes, first: int, header: str, extra: int) -> list[int]:
    starts, at = [0], first
    while at + 8 <= len(content):
        starts.append(at)
        at += max(8, struct.unpack_from(header, content, at)[0] + extra)
    return sorted({*starts, min(at, len(content))} - {len(content)})
