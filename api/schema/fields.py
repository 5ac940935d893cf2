"""Kinds of fields that callers fill: base64, globs, metadata, words; each says what is wrong with what came."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from api.requests.json_bodies import strict_json
from workers.sources.selection import Selection

MAX_GLOBS, MAX_GLOB_CHARS, MAX_GLOB_STARS, MOST_SAMPLE = 20, 200, 4, 100_000
MAX_METADATA_KEYS, MAX_METADATA_KEY_CHARS, MAX_METADATA_CHARS = 16, 64, 512

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"


def _decoded(value: Any) -> Any:  # noqa: ANN401  what came, before it is checked
    """Base64, bare or as a data URL (RFC 2397), as the bytes that it stands for."""
    if not isinstance(value, str):
        return value
    text = value
    if value.startswith("data:"):
        head, _, text = value.partition(",")
        if not head.endswith(";base64"):
            raise ValueError("a data URL must say `;base64,` before the data")
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"this is no base64 (RFC 4648, section 4): {error}") from error
    if not found:
        raise ValueError("there is no data")
    return found


def from_text(value: Any) -> Any:  # noqa: ANN401  likewise
    """A form's field is text: there an object is JSON."""
    if isinstance(value, str):
        try:
            return strict_json(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("give a JSON object, each name once") from error
    return value


def only_ascii(value: Any) -> Any:  # noqa: ANN401  likewise
    """A header has no encoding that everyone keeps to."""
    if isinstance(value, str) and not value.isascii():
        raise ValueError("write what is not ASCII as JSON escapes, as in \\u00e9")
    return value


def _glob(text: str) -> str:
    # Each star may be tried at every place of a name: a few are enough, and more could take for ever.
    if text.count("*") > MAX_GLOB_STARS:
        raise ValueError(f"a glob has at most {MAX_GLOB_STARS} stars")
    Selection(include=(text,))
    return text


def from_words(value: Any) -> Any:  # noqa: ANN401  likewise
    """In a form or a query, words between commas."""
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value


Base64Image = Annotated[
    bytes, BeforeValidator(_decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 4})
]
MetadataKey = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY_CHARS)]
MetadataValue = Annotated[str, Field(max_length=MAX_METADATA_CHARS)]
Globs = Annotated[
    Sequence[Annotated[str, Field(min_length=1, max_length=MAX_GLOB_CHARS, pattern=PRINTABLE), AfterValidator(_glob)]],
    Field(max_length=MAX_GLOBS),
]
Metadata = Annotated[
    Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)], BeforeValidator(from_text)
]
