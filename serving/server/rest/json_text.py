"""Parse JSON as rapidjson does with TF Serving's flags: bytes after the document, NaN and infinities are accepted.

Python's parser does the work. It differs in what is checked here: it takes numbers beyond a double and lone surrogates,
does not know `Inf`, and of a name that comes twice in an object keeps the last value, where rapidjson finds the first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

from serving.server.errors import StatusError, invalid_argument

_REASONS: Final = {  # Python's messages and rapidjson's
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_STRING_OR_INF: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\bInf\b', re.DOTALL)
_MAYBE_TOO_BIG: Final = re.compile(r"[eE]\+?\d{3}|\d{210}")  # 210 digits and an exponent of two may make 1e309
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_BLANKS: Final = " \t\n\r"


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return the first document of `body`. Raises INVALID_ARGUMENT, in rapidjson's words, if it is not valid."""
    if not body:
        raise _refusal("The document is empty")
    try:
        return _parse(body.decode("utf-8-sig"))  # rapidjson skips a byte order mark too
    except json.JSONDecodeError as error:
        raise _refusal(_reason(error), error.pos) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, too many digits in a number, or nested too deeply
        raise _refusal("Invalid value.", 0) from error


def _parse(text: str) -> Any:  # noqa: ANN401 - any JSON
    if _SURROGATE.search(text):
        _check_surrogates(text)
    hooks: dict[str, Any] = {}
    if _MAYBE_TOO_BIG.search(text):  # the hooks cost time for each number
        hooks = {"parse_float": _checked(float), "parse_int": _checked(int)}
    decoder = json.JSONDecoder(object_pairs_hook=_first_of_each, **hooks)
    start = len(text) - len(text.lstrip(_BLANKS))
    try:
        return decoder.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        if not text[error.pos :].lstrip("-").startswith("Inf"):
            raise
    spelled_out = _STRING_OR_INF.sub(lambda match: "Infinity" if match[0] == "Inf" else match[0], text)
    return decoder.raw_decode(spelled_out, start)[0]


def _reason(error: json.JSONDecodeError) -> str:
    if not error.doc.strip(_BLANKS):
        return "The document is empty."
    if error.msg == "Expecting ',' delimiter" and _is_in_list(error.doc[: error.pos]):
        return "Missing a comma or ] after an array element."
    return _REASONS.get(error.msg, "Invalid value.")


def _is_in_list(text: str) -> bool:
    """Return whether the end of `text`, the beginning of a JSON document, is in a list, and not in an object."""
    opened: list[str] = []
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in {"[", "{"}:
            opened.append(match[0])
        elif match[0] in {"]", "}"}:
            opened.pop()
    return opened[-1:] == ["["]


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members = {}
        for name, value in pairs:
            members.setdefault(name, value)
    return members


def _checked(read: Callable[[str], float]) -> Callable[[str], float]:
    def read_checked(text: str) -> float:
        if math.isinf(float(text)):
            raise _refusal("Number too big to be stored in double.", 0)
        return read(text)

    return read_checked


def _check_surrogates(text: str) -> None:
    """Raise INVALID_ARGUMENT if an escape is half of a surrogate pair without the other half."""
    high_until: int | None = None  # where the escape of a first half ends
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        is_second = 0xDC00 <= code < 0xE000
        if is_second is not (high_until == match.start()):
            break
        high_until = match.end() if 0xD800 <= code < 0xDC00 else None
    else:
        if high_until is None:
            return
    raise _refusal("The surrogate pair in string is invalid.", match.start())


def _refusal(reason: str, offset: int | None = None) -> StatusError:
    place = "" if offset is None else f" at offset: {offset}"
    return invalid_argument(f"JSON Parse error: {reason}{place}")
