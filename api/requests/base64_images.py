"""Decode base64 as people send it: the same forms in the items of a job, in `/v1/detect` and in the robots' calls."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

# All escapes of base64 and line breaks: `unquote` would create an object for each occurrence.
_ESCAPES: Final = (("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("%0D", ""), ("%0A", ""))
_MAX_OTHER_ESCAPES: Final = 100_000
_PIECE_CHARS: Final = 1 << 20  # a multiple of 4
_LEFT_OUT: Final = ("\n", "\r", "\t")
_WRONG: Final = "this is not base64 (RFC 4648, section 4)"
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=]")


def decode_base64(text: str) -> bytes:
    """Decode base64 text, which may be empty.

    It may be a `data:` URL (RFC 2397), percent-encoded, in lines, in the alphabet for URLs, and without padding.
    Raises ValueError, which says what is wrong, for anything else; a space is such, since it may have been a `+`.
    """
    if "%" in text:
        text = _percent_decoded(text)
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise ValueError("a data URL needs `;base64,` before the data")
    for character in _LEFT_OUT:
        text = text.replace(character, "")
    text = text.replace("-", "+").replace("_", "/")
    bare = text.rstrip("=")
    wrong = next((at + match.start() for at, piece in _pieces(text) if (match := _NO_BASE64.search(piece))), -1)
    wrong = bare.find("=") if wrong < 0 else wrong
    if wrong >= 0:
        place = f"the character {text[wrong]!r} at place {wrong + 1}"
        raise ValueError(f"{_WRONG}: {'a space, perhaps in place of a `+`' if text[wrong] == ' ' else place}")
    missing = -len(bare) % 4
    if len(text) - len(bare) not in {0, missing} or missing == 3:
        raise ValueError(f"{_WRONG}: its end is cut off or has wrong padding")
    decoded = [
        binascii.a2b_base64(piece if len(piece) % 4 == 0 else piece + "=" * missing) for _, piece in _pieces(bare)
    ]
    return b"".join(decoded)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each piece of a text begins, and the piece: in one piece, other threads could not run meanwhile."""
    for at in range(0, len(text), _PIECE_CHARS):
        yield at, text[at : at + _PIECE_CHARS]


def _percent_decoded(text: str) -> str:
    for escape, character in _ESCAPES:
        text = text.replace(escape, character).replace(escape.lower(), character)
    return unquote(text) if 0 < text.count("%") <= _MAX_OTHER_ESCAPES else text
