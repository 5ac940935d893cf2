"""What a synchronous call takes, and what it answers with."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, SkipValidation, WithJsonSchema

from api.requests.checking import RequestModel
from api.requests.uploads import Upload
from api.schema.options import OptionFields, ShowHeaders, SubmitHeaders
from api.schema.result_document import DetectionDocument
from api.schema.submission import ItemFields
from workers.jobs.document import Document, UrlsDocument

_FILE = {"type": "string", "format": "binary"}


class DetectQuery(OptionFields):
    """How long to wait, and the options of a raw body; those of a form or of JSON stand in the body."""

    wait: float | None = Field(
        default=None, ge=0, description="Answer 202 with the job after so many seconds. `Prefer: wait=` does the same."
    )


class DetectHeaders(SubmitHeaders, ShowHeaders):
    """The headers of a synchronous call."""

    accept: str = Field(
        default="", alias="Accept", description="`image/png` or `image/jpeg` for the picture with its boxes drawn."
    )


class ImageForm(RequestModel):
    """One image, uploaded."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    images: Annotated[list[Upload], SkipValidation, WithJsonSchema(_FILE)] = Field(
        description="The image file. `image`, `file` and `files` are the same field."
    )


class DetectForm(OptionFields, ImageForm):
    """One image, uploaded, and its options."""


class DetectJson(OptionFields, ItemFields):
    """One image, by its URL or in base64, and its options."""


class DetectedDocument(Document):
    """An image and what was found in it, best first: the result of its job, and where that is."""

    model_config = ConfigDict(extra="allow")  # whatever else a result has

    index: int
    name: str
    state: str
    width: int = Field(description="Of the upright original, in pixels; `height` likewise.")
    height: int
    model: str
    model_version: int
    detections: list[DetectionDocument]
    job_id: str
    urls: UrlsDocument
