"""The robots that may call, each with a path, a token and options of its own. See docs/robot.md."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from serving.boxes.tiles import checked_tiles
from workers.jobs.options import JobOptions
from workers.settings_checks import Name, checked_rate

COURSE_PATH: Final = "/api/v1/prediction/commodity"
# First path segments that the API uses, or may use later.
RESERVED: Final = frozenset({"", "docs", "healthz", "metrics", "openapi.json", "page", "readyz", "static", "v1"})

_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")


class Robot(BaseModel):
    """A robot: where it calls, with what token, and how it is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    path: str = Field(
        default="/api/v3/prediction/commodity", max_length=200, description="The path that its console registers."
    )
    token: SecretStr | None = Field(
        default=None,
        description="Its `access_token`, 16 or more letters, digits and ._~-; without one it is answered only where "
        "the API asks for no keys.",
    )
    model: str | None = Field(default=None, description="The model; the setting's where it names none.")
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Leave detections below this score out; the model's own where none."
    )
    max_detections: int | None = Field(default=None, ge=1, le=10_000, description="Keep so many, the best ones.")
    tiles: Annotated[str, AfterValidator(checked_tiles)] = Field(
        default="off", description="off, auto, or rows x columns as in 2x3."
    )
    overlap: float = Field(
        default=0.2, ge=0, le=0.8, description="How much of a tile's side its neighbour shows as well, at least."
    )
    deadline_seconds: float = Field(default=5.0, gt=0, le=60, description="After this long it is told to come again.")
    rate: Annotated[str, AfterValidator(checked_rate)] = Field(
        default="", description="Requests that it may send, as in 10/second;1000/minute. Empty: any."
    )
    owner: Name | None = Field(
        default=None, description="Whose its jobs are, as of an API key; nobody's where it names none."
    )

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError("write it as in /api/v3/prediction/commodity: parts of letters, digits and ._~-")
        if value == COURSE_PATH or value.split("/")[1] in RESERVED:
            raise ValueError("this address is the API's own: choose one below /api/")
        return value

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("write 16 or more random letters or digits, as `openssl rand -hex 16` makes them")
        return value

    def options(self, default_model: str) -> JobOptions:
        """Return the options of the robot's jobs."""
        model = self.model or default_model
        return JobOptions(model, self.threshold, self.max_detections, tiles=self.tiles, overlap=self.overlap)


def read_robots(text: str) -> Any:  # noqa: ANN401  what was written, before it is checked
    """Read the robots of a setting: JSON, or the path of a TOML file with a [[robots]] table for each robot.

    Return what was written, not yet checked. Raises ValueError, whose message contains no token.
    """
    if text.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(text)
        except ValueError as error:
            at = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "?"
            raise ValueError(f"this is no JSON (at {at})") from None
        return [found] if isinstance(found, dict) else found
    try:
        found = tomllib.loads(Path(text).read_text())
    except OSError as error:
        raise ValueError(f"the file cannot be read ({error.strerror}): give JSON, or a TOML file's path") from None
    except ValueError as error:
        where = re.search(r"\(at .*\)", str(error))
        raise ValueError(f"the file is no TOML {where[0] if where else ''}".rstrip()) from None
    if found.keys() != {"robots"}:
        raise ValueError("the file needs a [[robots]] for each robot, and nothing else")
    return found["robots"]


def checked_robots(robots: Sequence[Robot], served: Sequence[str]) -> None:
    """Raise ValueError if two robots have the same path, or a robot names a model that is not served."""
    paths = [one.path for one in robots]
    for number, robot in enumerate(robots):
        if robot.path in paths[:number]:
            raise ValueError(f"two robots have the path {robot.path}")
        if robot.model is not None and robot.model not in served:
            raise ValueError(f"robot {number} has the model {robot.model!r}, which is not in SHELFLINE_MORE_MODELS")
