"""The options that every kind of job has, and the headers of submissions and of reads."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import AfterValidator, Field

from api.requests.checking import RequestModel
from serving.boxes.tiles import MAX_TILES, checked_tiles
from workers.jobs.options import JobOptions, VersionFallback

TILES = "^(off|auto|[1-9][0-9]?x[1-9][0-9]?)$"


class OptionFields(RequestModel):
    """The options of every kind of job."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)] | None = Field(
        default=None, description="The name of the model. Null: the default model."
    )
    model_version: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="The version of the model. Null: the newest one when the image is processed."
    )
    version_fallback: VersionFallback | None = Field(
        default=None,
        description="What happens to images whose `model_version` is not served any more, after 10 minutes (a "
        "setting): `latest` processes them with the newest version; null fails them with `version_gone`.",
    )
    min_score: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None, description="Leave out detections below this score."
    )
    max_detections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Keep at most this many detections per image, the best ones."
    )
    tiles: Annotated[str, Field(json_schema_extra={"pattern": TILES}), AfterValidator(checked_tiles)] = Field(
        default="off",
        description="Process overlapping tiles of each image too, to find objects that are too small in the whole "
        f"image: `auto` chooses the tiles by the image's size, `2x3` is 2 rows of 3 tiles. At most {MAX_TILES} tiles.",
    )
    overlap: Annotated[float, Field(ge=0.0, le=0.8)] = Field(
        default=0.2, description="The smallest part of a tile's side that its neighbour shows too."
    )
    max_failure_rate: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description="End the job as failed if more than this part of its images fails, once 20 of them are done (a "
        "setting). It keeps the finished results.",
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=30 * 86400)] | None = Field(
        default=None, description="Images that are not finished after this many seconds fail."
    )

    def job_options(self, default_model: str) -> JobOptions:
        """Return the options as a job keeps them: the fields that have the same names."""
        options = self.model_dump(include={field.name for field in fields(JobOptions)})
        return JobOptions(**options | {"model": self.model or default_model})


class SubmitHeaders(RequestModel):
    """The headers of a submission."""

    idempotency_key: str = Field(
        default="",
        alias="Idempotency-Key",
        max_length=255,
        description="Any text of your own. The same request, sent again with it, is answered with the first one's job.",
    )


class ShowQuery(RequestModel):
    """How long to wait for the end of a job."""

    wait: float | None = Field(default=None, ge=0, description="Answer when the job ends, or after this many seconds.")


class ShowHeaders(RequestModel):
    """The headers of a request for a job."""

    prefer: str = Field(
        default="", alias="Prefer", description="`wait=<seconds>` does the same as the parameter `wait` (RFC 7240)."
    )
