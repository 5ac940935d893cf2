"""JSON bodies: read whole, so bounded."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request

from api.errors import InvalidRequestError
from workers.settings import Settings


def read_json(request: Request, settings: Settings) -> dict[str, Any]:
    """The object that a request's body is; raises InvalidRequestError, and RequestEntityTooLarge above the setting."""
    request.max_content_length = settings.max_json_bytes
    try:
        body = json.loads(request.get_data(cache=False).decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
