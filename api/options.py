"""What a caller may ask of a job, checked: unknown fields and wrong values are named, never ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from api.errors import InvalidRequestError, UnknownFieldError
from workers.jobs import JobOptions

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME_CHARS = 1024


class OptionFields(BaseModel):
    """The options of every kind of job."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)] | None = None
    min_score: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    max_detections: Annotated[int, Field(ge=1, le=10_000)] | None = None

    deadline_seconds: Annotated[float, Field(gt=0, le=30 * 86400)] | None = None

    def job_options(self, default_model: str) -> JobOptions:
        """The options as a job keeps them."""
        return JobOptions(self.model or default_model, self.min_score, self.max_detections)


class FolderJob(OptionFields):
    """The JSON body of a job on a folder of the server."""

    folder: str = Field(min_length=1, max_length=4096)

    @field_validator("folder")
    @classmethod
    def _printable(cls, folder: str) -> str:
        if _CONTROL.search(folder):
            raise ValueError("a folder's name has no control characters")
        return folder


Fields = TypeVar("Fields", bound=OptionFields)


def checked(kind: type[Fields], given: Mapping[str, Any], *, strict: bool) -> Fields:
    """Check what came; `strict` where the values have types (JSON), else they are text (a form).

    Raises UnknownFieldError, InvalidRequestError, with each wrong field by name.
    """
    try:
        return kind.model_validate(dict(given), strict=strict)
    except ValidationError as error:
        wrong = error.errors()
        unknown = [_where(one["loc"]) for one in wrong if one["type"] == "extra_forbidden"]
        if unknown:
            known = ", ".join(sorted(kind.model_fields))
            raise UnknownFieldError(f"Unknown field {', '.join(unknown)}: this request takes {known}.") from error
        detail = "; ".join(f"{_where(one['loc'])}: {one['msg']}" for one in wrong)
        raise InvalidRequestError(f"{detail}.") from error


def checked_name(name: str, number: int) -> str:
    """The name of an upload, as its sender gave it: a relative path is kept. Raises InvalidRequestError."""
    if not name:
        raise InvalidRequestError(f"File {number} has no filename: give each part one.")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidRequestError(f"The name of file {number} is longer than {MAX_NAME_CHARS} characters.")
    if _CONTROL.search(name):
        raise InvalidRequestError(f"The name of file {number} has control characters: {name!r}.")
    return name


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(repr(str(part))[1:-1][:100] for part in location) or "body"
