"""Read JSON bodies with limits.

A body is parsed in memory, so its bytes, its values and its depth are limited. Only a few large bodies are parsed at
the same time.
"""

from __future__ import annotations

import json
import math
import re
import threading
from typing import Any, NoReturn

from werkzeug.exceptions import RequestEntityTooLarge

from api.http.errors import InvalidRequestError, RequestTooLargeError
from api.requests.spool import Spool, UploadRequest
from workers.settings import Settings

_LARGE_BYTES = 1 << 20
_LARGE_AT_ONCE = 4  # each may need about 200 MB of memory; other large bodies wait on disk
_PIECE_BYTES = 1 << 18
_VALUES_AN_IMAGE = 16
_OTHER_VALUES = 10_000
_EXACT = 2**53
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_large = threading.BoundedSemaphore(_LARGE_AT_ONCE)


def read_json(request: UploadRequest, settings: Settings, max_bytes: int | None = None) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    At most `max_bytes` are read, by default the setting `max_json_bytes`. Only four large bodies (over 1 MiB) are
    processed at the same time; a large one keeps its place until the request ends or `release` is called.
    Raises InvalidRequestError, RequestTooLargeError, SpoolFullError.
    """
    limit = settings.max_json_bytes if max_bytes is None else max_bytes
    request.max_content_length = limit
    try:
        body = _read(request)
    except RequestEntityTooLarge as error:
        raise RequestTooLargeError(
            f"A JSON body may have at most {limit} bytes. Upload files as multipart/form-data, "
            "or send several requests."
        ) from error
    value = _parsed(body, settings)
    if not isinstance(value, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    return value


def _read(request: UploadRequest) -> bytes:
    """Read the body. It is spooled first, so that a slow sender occupies little memory."""
    spool = Spool()
    try:
        while piece := request.stream.read(_PIECE_BYTES):
            spool.append(piece)
        if spool.size > _LARGE_BYTES:
            _large.acquire()
            request.on_release(_large.release)
        return spool.read(0, spool.size)
    finally:
        spool.close()


def _parsed(body: bytes, settings: Settings) -> object:
    # Values are counted, not bytes: an empty list takes 3 bytes of text but 60 bytes of memory.
    if body.count(b"[") + body.count(b"{") + body.count(b",") > (
        _OTHER_VALUES + _VALUES_AN_IMAGE * settings.max_job_images
    ):
        raise RequestTooLargeError("The JSON body has too many values. Send several requests.")
    try:
        text = body.decode()
        value = strict_json(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise _too_deep(settings) from error
    except UnicodeEncodeError as error:
        raise InvalidRequestError("The body is not JSON: a string has half of a surrogate pair.") from error
    except ValueError as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from error
    if _deeper(value, settings.max_json_depth):
        raise _too_deep(settings)
    return value


def strict_json(text: str) -> object:
    """Parse JSON strictly by RFC 8259; a name must not occur twice in an object. Raises ValueError, RecursionError.

    A byte order mark before it is skipped, as the RFC allows: PowerShell and Windows' editors write one.
    """
    text = text.removeprefix("\ufeff")
    return json.loads(text, parse_constant=_no_number, parse_float=_number, object_pairs_hook=_object_without_doubles)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _number(text: str) -> float:
    """Parse a number with a point or an exponent.

    A whole number such as 20.0 becomes an int, as JSON Schema counts it as an integer, unless it is too large for a
    double to be exact. Raises ValueError for a number that is too large for a double.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same name twice")
    return members


def _deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(member, levels - 1) for member in members)


def _too_deep(settings: Settings) -> InvalidRequestError:
    return InvalidRequestError(f"The JSON body is nested deeper than {settings.max_json_depth} levels. Nest it less.")
