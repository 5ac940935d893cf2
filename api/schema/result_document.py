"""The result of one image. It is sent as it is stored; these models document it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workers.jobs.document import Document


class BoxDocument(Document):
    """A rectangle around an object."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float


class DetectionDocument(Document):
    """One object that was found."""

    label: str
    score: float = Field(ge=0, le=1)
    box: BoxDocument = Field(description="In pixels of the upright original.")
    box_normalized: BoxDocument = Field(description="The same box, in 0..1 of the image's height and width.")


class FailureDocument(Document):
    """Why an image failed."""

    code: str
    detail: str
    retryable: bool


class ResultDocument(Document):
    """The result of one image: size, model and detections if it succeeded, an error if it failed."""

    index: int = Field(ge=0, description="The index of the image in its job, from 0.")
    name: str
    custom_id: str = Field(default="", description="The id that the caller gave the image, if any.")
    state: Literal["succeeded", "failed", "canceled"]
    width: int = Field(default=0, description="The width of the upright original, in pixels.")
    height: int = Field(default=0, description="The height of the upright original, in pixels.")
    model: str = ""
    model_version: int = 0
    cached: bool = Field(default=False, description="Whether it was taken from an earlier job (option `cache`).")
    detections: list[DetectionDocument] = Field(default=[], description="Best first.")
    error: FailureDocument | None = None
