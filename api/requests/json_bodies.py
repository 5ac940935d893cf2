"""Read JSON bodies with limits.

A body is parsed in memory, so its bytes, its values and its depth are limited. Only a few large bodies are parsed at
the same time.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from werkzeug.exceptions import RequestEntityTooLarge

from api.http.errors import InvalidRequestError, RequestTooLargeError
from api.requests.json_limits import LongStrings, ValueCounter, narrowed
from api.requests.spool import Spool, UploadRequest
from workers.settings import Settings

_LARGE_BYTES = 1 << 20
_LARGE_AT_ONCE = 2  # each may need five times its size; other large bodies wait on disk
_PIECE_BYTES = 1 << 18
_VALUES_PER_ITEM = 4  # `{` and a comma for each of its three members
_OTHER_VALUES = 1000
_MAX_NAMES = 1000
_MAX_NUMBER_CHARS = 400  # of a number with a point: a double has at most 309 digits before it
_EXACT = 2**53

_Members = Callable[[list[tuple[str, Any]]], dict[str, Any]]

_large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
_parsing = threading.Lock()  # the parser keeps all other threads waiting, so one of them waits at a time


def read_json(request: UploadRequest, settings: Settings, max_bytes: int | None = None) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    At most `max_bytes` are read, by default the setting `max_json_bytes`, and at most the values that a job of
    `max_job_images` items has. Only two large bodies (over 1 MiB) are processed at the same time; a large one keeps
    its place until the request ends or `release` is called. Raises InvalidRequestError, RequestTooLargeError,
    SpoolFullError.
    """
    limit = settings.max_json_bytes if max_bytes is None else max_bytes
    request.max_content_length = limit
    counter = ValueCounter(_OTHER_VALUES + _VALUES_PER_ITEM * settings.max_job_images)
    try:
        body = _read(request, counter)
    except RequestEntityTooLarge as error:
        raise RequestTooLargeError(
            f"A JSON body may have at most {limit} bytes. Upload files as multipart/form-data, "
            "or send several requests."
        ) from error
    reader = _Reader(body, counter)
    del body
    value = reader.read(settings.max_json_depth)
    if not isinstance(value, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    return value


def _read(request: UploadRequest, counter: ValueCounter) -> bytes:
    """Read the body, and count its values. It is spooled first, so that a slow sender occupies little memory."""
    spool = Spool()
    try:
        while piece := request.stream.read(_PIECE_BYTES):
            counter.add(piece)
            spool.append(piece)
        if spool.size > _LARGE_BYTES:
            _large.acquire()
            request.on_release(_large.release)
        return spool.read(0, spool.size)
    finally:
        spool.close()


class _Reader:
    """Parses one body, once; the text is freed while the values are checked."""

    def __init__(self, body: bytes, counter: ValueCounter) -> None:
        """Take a body that was counted. Raises RequestTooLargeError."""
        self._has_escapes = counter.has_escapes
        self._long = LongStrings(body) if counter.has_long_strings else None
        self._text = narrowed(self._long.text if self._long else body)

    def read(self, max_depth: int) -> object:
        """Return the values. Raises InvalidRequestError."""
        try:
            with _parsing:
                value = self._values()
        except RecursionError as error:
            raise _too_deep(max_depth) from error
        except ValueError as error:
            raise InvalidRequestError(f"The body is not JSON: {error}.") from error
        if _deeper(value, max_depth):
            raise _too_deep(max_depth)
        try:
            if self._has_escapes:
                _check_surrogates(value)
        except UnicodeEncodeError as error:
            raise InvalidRequestError("The body is not JSON: a string has half of a surrogate pair.") from error
        return value

    def _values(self) -> object:
        text = self._text.decode()
        self._text = b""
        try:
            return strict_json(text, self._members)
        except json.JSONDecodeError as error:
            if self._long is None:
                raise
            raise ValueError(f"{error.msg}: byte {self._long.position(error.pos)}") from error

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > _MAX_NAMES:
            raise ValueError(f"an object has {len(pairs)} names, and no object of a request has more than {_MAX_NAMES}")
        members = _object_without_doubles(pairs)
        if self._long is not None:
            for name, member in pairs:
                if isinstance(member, str):
                    members[name] = self._long.take(member)
        return members


def _check_surrogates(value: object) -> None:
    """Raise UnicodeEncodeError if a text has half of a surrogate pair."""
    if isinstance(value, str):
        if not value.isascii():
            value.encode()
    elif isinstance(value, dict | list):
        for member in value:
            _check_surrogates(member)
        for member in value.values() if isinstance(value, dict) else ():
            _check_surrogates(member)


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same name twice")
    return members


def strict_json(text: str, members: _Members = _object_without_doubles) -> object:
    """Parse JSON strictly by RFC 8259; a name must not occur twice in an object. Raises ValueError, RecursionError.

    `members` makes an object of its names and values.

    A byte order mark before it is skipped, as the RFC allows: PowerShell and Windows' editors write one.
    """
    text = text.removeprefix("\ufeff")
    return json.loads(text, parse_constant=_no_number, parse_float=_number, object_pairs_hook=members)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _number(text: str) -> float:
    """Parse a number with a point or an exponent.

    A whole number such as 20.0 becomes an int, as JSON Schema counts it as an integer, unless it is too large for a
    double to be exact. Raises ValueError for a number that is too large for a double.
    """
    if len(text) > _MAX_NUMBER_CHARS:
        raise ValueError(f"the number {text[:20]} has more than {_MAX_NUMBER_CHARS} characters")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(member, levels - 1) for member in members)


def _too_deep(levels: int) -> InvalidRequestError:
    return InvalidRequestError(f"The JSON body is nested deeper than {levels} levels. Nest it less.")
