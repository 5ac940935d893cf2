"""What a caller may ask of a job."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import AfterValidator, Field

from api.requests.checking import RequestModel
from serving.boxes.tiles import MAX_TILES, checked_tiles
from workers.jobs.options import JobOptions

TILES = "^(off|auto|[1-9][0-9]?x[1-9][0-9]?)$"


class OptionFields(RequestModel):
    """The options of every kind of job."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)] | None = Field(
        default=None, description="The model's name; null takes the default one."
    )
    model_version: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="One version of the model; null takes the newest at each image's turn."
    )
    min_score: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None, description="Leave detections below this score out."
    )
    max_detections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Keep so many detections an image, the best ones."
    )
    tiles: Annotated[str, Field(json_schema_extra={"pattern": TILES}), AfterValidator(checked_tiles)] = Field(
        default="off",
        description="Look at overlapping tiles of each image too, for objects that vanish in the whole: `auto` chooses "
        f"them by the image's size, `2x3` is 2 rows of 3, at most {MAX_TILES} in all.",
    )
    overlap: Annotated[float, Field(ge=0.0, le=0.8)] = Field(
        default=0.2, description="How much of a tile's side its neighbour shows as well, at least."
    )
    max_failure_rate: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description="Give the job up where more than this part of its images fails, once 20 are done (a setting): it "
        "ends as failed, with what is finished and the reason.",
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=30 * 86400)] | None = Field(
        default=None, description="What is unfinished after this long fails."
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
        description="Any text of your own. The same request sent again with it gives the first one's job.",
    )


class ShowQuery(RequestModel):
    """How to look at a job."""

    wait: float | None = Field(
        default=None, ge=0, description="Answer when the job ends, after so many seconds at most."
    )


class ShowHeaders(RequestModel):
    """The headers of a look at a job."""

    prefer: str = Field(default="", alias="Prefer", description="`wait=<seconds>` is the other way to ask (RFC 7240).")
