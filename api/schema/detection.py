"""The models of `POST /v1/detect`: its query, headers and bodies, and its response."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, SkipValidation, WithJsonSchema

from api.requests.checking import RequestModel
from api.requests.uploads import Upload
from api.schema.fields import FILE_SCHEMA
from api.schema.options import OptionFields, ShowHeaders, SubmitHeaders
from api.schema.result_document import DetectionDocument
from api.schema.submission import ItemFields
from workers.jobs.document import Document, UrlsDocument


class DetectQuery(OptionFields):
    """How long to wait, and the options of an image that is the body itself; a form or JSON body has its own."""

    wait: float | None = Field(
        default=None,
        ge=0,
        description="Answer 202 with the job after so many seconds, as `Prefer: wait=` does.",
    )


class DetectHeaders(SubmitHeaders, ShowHeaders):
    """The headers of a synchronous call."""

    accept: str = Field(
        default="",
        alias="Accept",
        description="`image/png` or `image/jpeg` gives the picture with the boxes drawn on it.",
    )


class ImageForm(RequestModel):
    """One uploaded image."""

    images: Annotated[list[Upload], SkipValidation, WithJsonSchema(FILE_SCHEMA)] = Field(
        description="The image file. `image`, `file` and `files` are the same field."
    )


class DetectForm(OptionFields, ImageForm):
    """One uploaded image and its options."""


class DetectJson(OptionFields, ItemFields):
    """One image, by URL or in base64, and its options."""


class DetectedDocument(Document):
    """The result of one image, with the id and the URLs of its job."""

    model_config = ConfigDict(extra="allow")  # a result has more fields

    index: int
    name: str
    state: str
    width: int = Field(description="The width of the upright original, in pixels.")
    height: int = Field(description="The height of the upright original, in pixels.")
    model: str
    model_version: int
    detections: list[DetectionDocument]
    job_id: str
    urls: UrlsDocument
