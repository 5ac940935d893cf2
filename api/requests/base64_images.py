"""Decode base64 as people send it: the same forms in the items of a job, in `/v1/detect` and in the robots' calls."""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import unquote

# All escapes of base64 and line breaks: `unquote` would create an object for each occurrence.
_ESCAPES: Final = (("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("%0D", ""), ("%0A", ""))
_MAX_OTHER_ESCAPES: Final = 100_000
_LEFT_OUT: Final = ("\n", "\r", "\t")
_WRONG: Final = "this is not base64 (RFC 4648, section 4)"
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=]")
_PADDING: Final = re.compile("=")


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
    if wrong := _NO_BASE64.search(text) or _PADDING.search(bare):
        place = f"the character {wrong[0]!r} at place {wrong.start() + 1}"
        raise ValueError(f"{_WRONG}: {'a space, perhaps in place of a `+`' if wrong[0] == ' ' else place}")
    missing = -len(bare) % 4
    if len(text) - len(bare) not in {0, missing} or missing == 3:
        raise ValueError(f"{_WRONG}: its end is cut off or has wrong padding")
    return base64.b64decode(bare + "=" * missing)


def _percent_decoded(text: str) -> str:
    for escape, character in _ESCAPES:
        text = text.replace(escape, character).replace(escape.lower(), character)
    return unquote(text) if 0 < text.count("%") <= _MAX_OTHER_ESCAPES else text
