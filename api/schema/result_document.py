"""How the result of one image looks: it is sent as it is stored, this says what that is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workers.jobs.document import Document


class BoxDocument(Document):
    """A box."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


class DetectionDocument(Document):
    """One thing that was found."""

    label: str
    score: float = Field(ge=0, le=1)
    box: BoxDocument = Field(description="In pixels of the upright original.")
    box_normalized: BoxDocument = Field(description="The same in 0..1.")


class FailureDocument(Document):
    """Why an image failed."""

    code: str
    detail: str
    retryable: bool


class ResultDocument(Document):
    """The result of one image: size, model and detections where it succeeded, an error where it failed."""

    index: int = Field(ge=0, description="The number of the image in its job.")
    name: str
    custom_id: str = Field(default="", description="The caller's own name for it, where it has one.")
    state: Literal["succeeded", "failed", "canceled"]
    width: int = Field(default=0, description="Of the upright original, in pixels; `height` likewise.")
    height: int = 0
    model: str = ""
    model_version: int = 0
    cached: bool = Field(default=False, description="Whether it was made before, for another job (option `cache`).")
    detections: list[DetectionDocument] = Field(default=[], description="Best first.")
    error: FailureDocument | None = None
