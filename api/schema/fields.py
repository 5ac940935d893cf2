"""Types for the fields of requests: base64, globs, metadata, lists of words. Their errors say what is wrong."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from api.requests.base64_images import decode_base64
from api.requests.json_bodies import strict_json
from workers.io.names import NO_CONTROLS, control_in
from workers.sources.selection import Selection

MAX_GLOBS, MAX_GLOB_CHARS, MAX_GLOB_STARS, MAX_SAMPLE = 20, 200, 4, 100_000
MAX_METADATA_KEYS, MAX_METADATA_KEY_CHARS, MAX_METADATA_CHARS = 16, 64, 512

FILE_SCHEMA = {"type": "string", "format": "binary"}


def _decoded(value: Any) -> Any:  # noqa: ANN401  the value before its validation
    """Decode base64 text. Raises ValueError."""
    if not isinstance(value, str):
        return value
    data = decode_base64(value)
    if not data:
        raise ValueError("there is no data")
    return data


def from_text(value: Any) -> Any:  # noqa: ANN401  the value before its validation
    """Parse JSON text; form fields and headers are text. Raises ValueError."""
    if isinstance(value, str):
        try:
            return strict_json(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("give a JSON object without duplicate names") from error
    return value


def only_ascii(value: Any) -> Any:  # noqa: ANN401  the value before its validation
    """Check that a header is ASCII; clients encode other characters in different ways. Raises ValueError."""
    if isinstance(value, str) and not value.isascii():
        raise ValueError("write characters beyond ASCII as JSON escapes, such as \\u00e9")
    return value


def _glob(text: str) -> str:
    # Matching tries each star at every position of a name, so many stars could take very long.
    if text.count("*") > MAX_GLOB_STARS:
        raise ValueError(f"a glob may have at most {MAX_GLOB_STARS} stars")
    Selection(include=(text,))
    return text


def _without_controls(text: str) -> str:
    """Check that a text has no control characters. Raises ValueError, which names the first one."""
    if control := control_in(text):
        raise ValueError(f"it has the control character {control}: write it without")
    return text


def from_words(value: Any) -> Any:  # noqa: ANN401  the value before its validation
    """Split text at commas; a form or a query sends a list as one text."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Base64Image = Annotated[
    bytes, BeforeValidator(_decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 2})
]
# Text of at least one character without control characters. JSON Schema says it by a pattern, whose error would not.
PlainText = Annotated[
    str, Field(min_length=1, json_schema_extra={"pattern": NO_CONTROLS}), AfterValidator(_without_controls)
]
Location = Annotated[PlainText, Field(max_length=4096)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY_CHARS)]
MetadataValue = Annotated[str, Field(max_length=MAX_METADATA_CHARS)]
Globs = Annotated[
    list[Annotated[PlainText, Field(max_length=MAX_GLOB_CHARS), AfterValidator(_glob)]],
    Field(max_length=MAX_GLOBS),
]
Metadata = Annotated[
    Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)], BeforeValidator(from_text)
]
