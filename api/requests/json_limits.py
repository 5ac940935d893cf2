"""Limits of a JSON body that hold before it is parsed: how many values it has, and how its strings lie in memory.

A parser needs many times the bytes of a hostile body, and keeps all other threads waiting while it runs. So values are
counted while the body is read, and long strings are taken out of the text that is parsed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

from api.http.errors import RequestTooLargeError

LONG_BYTES = 1 << 17  # more than the longest URL if all its characters are escaped; only base64 is longer
_PIECE_BYTES = 1 << 20
_ESCAPE_BYTES = 12  # of the longest escape, a surrogate pair
_MAX_STEPS_BACK = 4096
_MAX_ESCAPED_QUOTES = 1_000_000  # in long strings; base64 has none
_MAX_ASTRAL = 100_000
_ASTRAL_LEADS = tuple(bytes((lead,)) for lead in range(0xF0, 0xF5))  # first bytes of characters beyond U+FFFF
_ASTRAL = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
_BACKSLASH, _CONTINUATION = 0x5C, 0x80
_BEFORE_VALUES = (b"[", b"{", b",")


class ValueCounter:
    """Counts the values of a JSON body, piece by piece; characters within strings do not count."""

    def __init__(self, max_values: int) -> None:
        self._left = max_values
        self._quotes_left = 4 * max_values + 4  # two for a value, two for its name
        self._in_string = 0
        self._rest = b""
        self.has_long_strings = False  # may be True for strings of half that length too
        self.has_escapes = False

    def add(self, piece: bytes) -> None:
        """Count a piece. Raises RequestTooLargeError when the limit is passed."""
        text = self._rest + piece
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._rest = b"\\" if backslashes % 2 else b""  # it escapes what the next piece begins with
        text = text[: len(text) - len(self._rest)]
        self.has_escapes = self.has_escapes or b"\\" in text
        parts = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside, inside = parts[self._in_string :: 2], parts[1 - self._in_string :: 2]
        self._in_string = (self._in_string + len(parts) - 1) % 2
        self._quotes_left -= len(parts) - 1
        self._left -= sum(map(b"".join(outside).count, _BEFORE_VALUES))
        if max(map(len, inside), default=0) > LONG_BYTES // 2:
            self.has_long_strings = True
        if min(self._left, self._quotes_left) < 0:
            raise RequestTooLargeError("The JSON body has more values than any valid request. Send several requests.")


class LongStrings:
    """The long strings of a JSON body. In `text`, which is the body without them, each has a short mark instead."""

    def __init__(self, body: bytes) -> None:
        """Take out the strings. Raises RequestTooLargeError for a body that takes very long to look through."""
        self._raw: dict[str, memoryview] = {}
        self._cuts: list[tuple[int, int]] = []  # where in the text a mark ends, and how many bytes are missing
        mark, view = secrets.token_hex(16), memoryview(body)
        kept: list[memoryview | bytes] = []
        at = length = 0
        for start, end in _strings(body):
            if end - start <= LONG_BYTES:
                continue
            name = f"{mark}{len(self._raw)}"
            self._raw[name] = view[start:end]
            kept += [view[at:start], name.encode()]
            length += start - at + len(name)
            self._cuts.append((length, end - start - len(name)))
            at = end
        self.text = b"".join([*kept, view[at:]]) if kept else body

    def take(self, text: str) -> str:
        """Return the string that a mark stands for, once; any other text as it is. Raises ValueError."""
        raw = self._raw.pop(text, None) if self._raw else None
        return text if raw is None else _unescaped(raw)

    def position(self, position: int) -> int:
        """Return where in the body a position of the text is."""
        return position + sum(missing for end, missing in self._cuts if end <= position)


def narrowed(text: bytes) -> bytes:
    """Return JSON in which characters beyond U+FFFF are escaped, if it is mostly ASCII and large.

    Python keeps four bytes for each character of a text if one of them is beyond U+FFFF. Raises RequestTooLargeError.
    """
    astral = 0 if text.isascii() else sum(map(text.count, _ASTRAL_LEADS))
    if not astral or len(text) <= _PIECE_BYTES:
        return text
    if astral > _MAX_ASTRAL:
        raise RequestTooLargeError(
            f"The JSON body has more than {_MAX_ASTRAL} characters beyond U+FFFF. Send several requests."
        )
    return b"".join(piece if piece.isascii() else _ASTRAL.sub(_escaped, piece) for piece in _pieces_of_characters(text))


def _escaped(character: re.Match[bytes]) -> bytes:
    return json.dumps(character[0].decode("utf-8", "replace"))[1:-1].encode()


def _pieces_of_characters(text: bytes) -> Iterator[bytes]:
    """Yield UTF-8 in pieces that end between two characters, so that other threads can run in between."""
    at = 0
    while at < len(text):
        end = at + _PIECE_BYTES
        while end < len(text) and text[end] & 0xC0 == _CONTINUATION:
            end += 1
        yield text[at:end]
        at = end


def _strings(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the strings of a body begin and end, without their quotes."""
    escaped = 0
    start = body.find(b'"') + 1
    while start:
        end = looked_at = start
        while (end := body.find(b'"', end)) >= 0:
            if body[end - 1] != _BACKSLASH:
                break
            before = body[looked_at:end]
            if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
                break
            escaped += 1
            if escaped > _MAX_ESCAPED_QUOTES:
                raise RequestTooLargeError(
                    f"The JSON body has more than {_MAX_ESCAPED_QUOTES} escaped quotes. Send several requests."
                )
            end = looked_at = end + 1
        if end < 0:
            return
        yield start, end
        start = body.find(b'"', end + 1) + 1


def _unescaped(raw: memoryview) -> str:
    """Return a long string, made of pieces, so that other threads can run in between. Raises ValueError.

    Only base64 may be so long. A string with other characters is cut short, since a wide text of that length would
    need four times the memory; what is left is no base64 either.
    """
    pieces = []
    at = 0
    while at < len(raw):
        end = _end_of_piece(raw, at)
        piece = bytes(raw[at:end])
        if not piece.isascii():
            return bytes(raw[: LONG_BYTES + 1]).decode("utf-8", "replace") + "\N{REPLACEMENT CHARACTER}"
        pieces.append(json.loads(f'"{piece.decode("ascii")}"'))
        at = end
    return "".join(pieces)


def _end_of_piece(raw: memoryview, start: int) -> int:
    """Return where a piece may end: not within an escape."""
    end = start + _PIECE_BYTES
    if end >= len(raw):
        return len(raw)
    for _ in range(_MAX_STEPS_BACK):
        tail = bytes(raw[end - _ESCAPE_BYTES : end])
        if b"\\" not in tail:
            return end
        end -= _ESCAPE_BYTES - tail.index(b"\\")
    raise ValueError("a long string has too many escapes: base64 needs none")
