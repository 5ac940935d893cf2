"""The requests and responses of Baidu robots. An invalid request raises RobotError with one of Baidu's codes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, RootModel

from api.access.refusals import RobotError
from api.requests.base64_images import decode_base64
from workers.jobs.document import Document
from workers.results.baidu import EMPTY, INVALID, MISSING, NOT_BASE64, TOO_LONG, WRONG_SIZE
from workers.sources.decoding import measure

MAX_IMAGE_BYTES: Final = 10 << 20
MAX_ID_CHARS: Final = 128
MIN_SIDE, MAX_SIDE = 15, 4096  # pixels of either side of an image
_MAX_CHARS: Final = 4 * math.ceil(MAX_IMAGE_BYTES / 3)  # of its base64
MAX_BODY_BYTES: Final = 3 * _MAX_CHARS + 65_536  # each character may be percent-encoded


def request_id_of(fields: dict[str, Any]) -> str:
    """Return the request id, which the response must contain; raises RobotError."""
    request_id = fields.get("requestId")
    if request_id is None or request_id == "":
        raise RobotError(MISSING, "requestId is missing.")
    if not isinstance(request_id, str):
        raise RobotError(INVALID, "requestId is not a string.")
    if len(request_id) > MAX_ID_CHARS:
        raise RobotError(TOO_LONG, f"requestId has {len(request_id)} characters, more than {MAX_ID_CHARS}.")
    return request_id


def image_of(fields: dict[str, Any]) -> bytes:
    """Return the bytes of the image, after a check of its format and size; raises RobotError, ImageError."""
    text = fields.get("image")
    if text is None:
        raise RobotError(MISSING, "image is missing.")
    if not isinstance(text, str):
        raise RobotError(INVALID, "image is not a string.")
    if not text:
        raise RobotError(EMPTY, "image is empty.")
    try:
        content = decode_base64(text)
    except ValueError as error:
        raise RobotError(NOT_BASE64, f"image: {error}.") from error
    if not content:
        raise RobotError(EMPTY, "image is empty.")
    if len(content) > MAX_IMAGE_BYTES:
        raise RobotError(WRONG_SIZE, f"The image has {len(content)} bytes, more than {MAX_IMAGE_BYTES}.")
    width, height = measure(content)
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise RobotError(
            WRONG_SIZE, f"The image has {width} x {height} pixels. Each side must have {MIN_SIDE} to {MAX_SIDE}."
        )
    return content


class RobotQuery(BaseModel):
    """The robot's token."""

    access_token: str = Field(default="", description="The token of the robot, if its settings have one.")


class RobotRequest(BaseModel):
    """A photo. Other members are ignored."""

    request_id: str = Field(
        alias="requestId", min_length=1, max_length=MAX_ID_CHARS, description="An id, which the response contains."
    )
    image: str = Field(
        description="The image file in base64: bare, in lines, percent-encoded or as a `data:` URL. It has at most "
        f"10 MB, and {MIN_SIDE} to {MAX_SIDE} pixels on each side."
    )


class RobotRowDocument(Document):
    """One object that was found."""

    score: float = Field(ge=0, le=1)
    root: str = Field(description="The category path of the label; empty if it has none.")
    keyword: str = Field(description="The label.")


class RobotResultDocument(Document):
    """The objects that were found, best first."""

    request_id: str = Field(alias="requestId")
    result: list[RobotRowDocument]
    result_num: int = Field(alias="resultNum", description="The number of rows in `result`.")
    filter_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        alias="filterThreshold", description="Rows below this score are left out."
    )
    ext_infos: dict[str, Any] = Field(alias="extInfos")


class RobotErrorDocument(Document):
    """The reason why there is no result."""

    error_code: int
    error_msg: str
    request_id: str = Field(alias="requestId", description="Empty if the request had none.")


class RobotAnswerDocument(RootModel[RobotResultDocument | RobotErrorDocument]):
    """The objects that were found, or the reason why there is no result."""
