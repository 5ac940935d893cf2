"""What a robot sends: read, checked and decoded. What is wrong with it has one of Baidu's codes."""

from __future__ import annotations

import base64
import math
from typing import Annotated, Any, Final
from urllib.parse import unquote

from pydantic import BaseModel, Field, RootModel

from api.access.refusals import RobotError
from api.requests.json_bodies import read_json
from api.requests.spool import UploadRequest
from workers.jobs.document import Document
from workers.results.baidu import EMPTY, INVALID, MISSING, NOT_BASE64, TOO_LONG, WRONG_SIZE
from workers.settings import Settings
from workers.sources.decoding import measure

MOST_BYTES: Final = 10 << 20  # of an image
MOST_ID_CHARS: Final = 128
SHORTEST, LONGEST = 15, 4096  # pixels of an image's shorter and longer side
_MOST_CHARS: Final = 4 * math.ceil(MOST_BYTES / 3)  # of its base64
_MOST_BODY_BYTES: Final = 3 * _MOST_CHARS + 65_536  # each character may be percent-encoded
# What percent-encoding makes of base64, line breaks included: `unquote` would need an object for each.
_ESCAPES: Final = (("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("%0D", ""), ("%0A", ""))
_MOST_OTHERS: Final = 100_000


def read_fields(request: UploadRequest, settings: Settings) -> dict[str, Any]:
    """The body, a JSON object, whatever its media type is; raises InvalidRequestError, RequestTooLargeError."""
    return read_json(request, settings, most_bytes=_MOST_BODY_BYTES)


def request_id_of(sent: dict[str, Any]) -> str:
    """The id that the robot wants to be answered with; raises RobotError."""
    found = sent.get("requestId")
    if found is None or found == "":
        raise RobotError(MISSING, "requestId is missing.")
    if not isinstance(found, str):
        raise RobotError(INVALID, "requestId is no string.")
    if len(found) > MOST_ID_CHARS:
        raise RobotError(TOO_LONG, f"requestId has {len(found)} characters, more than {MOST_ID_CHARS}.")
    return found


def image_of(sent: dict[str, Any]) -> bytes:
    """The image's bytes, whose format and size are looked at; raises RobotError, ImageError."""
    text = sent.get("image")
    if text is None:
        raise RobotError(MISSING, "image is missing.")
    if not isinstance(text, str):
        raise RobotError(INVALID, "image is no string.")
    if not text:
        raise RobotError(EMPTY, "image is empty.")
    content = _decoded(text)
    if not content:
        raise RobotError(EMPTY, "image is empty.")
    if len(content) > MOST_BYTES:
        raise RobotError(WRONG_SIZE, f"The image has {len(content)} bytes, more than {MOST_BYTES}.")
    width, height = measure(content)
    if min(width, height) < SHORTEST or max(width, height) > LONGEST:
        raise RobotError(
            WRONG_SIZE, f"The image has {width} x {height} pixels: a side has {SHORTEST} to {LONGEST} of them."
        )
    return content


def _decoded(text: str) -> bytes:
    """Base64, perhaps percent-encoded, perhaps in lines, as what it stands for."""
    if "%" in text:
        for escape, meant in _ESCAPES:
            text = text.replace(escape, meant).replace(escape.lower(), meant)
        if 0 < text.count("%") <= _MOST_OTHERS:
            text = unquote(text)
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError as error:
        raise RobotError(NOT_BASE64, f"image is no base64 (RFC 4648, section 4): {error}.") from error


class RobotQuery(BaseModel):
    """The robot's token."""

    access_token: str = Field(default="", description="The robot's own token, where its setting names one.")


class RobotRequest(BaseModel):
    """A photo. Further members are left aside."""

    request_id: str = Field(alias="requestId", min_length=1, max_length=MOST_ID_CHARS, description="It is answered.")
    image: str = Field(
        description="The image file in base64, without a `data:` prefix, also percent-encoded; at most 10 MB, a side "
        f"{SHORTEST} to {LONGEST} pixels."
    )


class RobotRowDocument(Document):
    """One thing that was found."""

    score: float = Field(ge=0, le=1)
    root: str = Field(description="The category path of the label, empty where it has none.")
    keyword: str = Field(description="The label.")


class RobotResultDocument(Document):
    """What was found, best first."""

    request_id: str = Field(alias="requestId")
    result: list[RobotRowDocument]
    result_num: int = Field(alias="resultNum", description="How many rows `result` has.")
    filter_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        alias="filterThreshold", description="No row is below it."
    )
    ext_infos: dict[str, Any] = Field(alias="extInfos")


class RobotErrorDocument(Document):
    """Why there is no result."""

    error_code: int
    error_msg: str
    request_id: str = Field(alias="requestId", description="Empty where the request named none.")


class RobotAnswerDocument(RootModel[RobotResultDocument | RobotErrorDocument]):
    """What was found, or why there is no result."""
