"""The robots that may call, each with a path, a token and options of its own. See docs/robot.md."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo

from serving.boxes.tiles import checked_tiles
from workers.jobs.options import JobOptions
from workers.settings_checks import Name, checked_rate, models_in

FORM_UPLOAD_PATH: Final = "/api/v1/prediction/commodity"
# First path segments that the API uses, or may use later.
RESERVED: Final = frozenset({"", "docs", "healthz", "metrics", "openapi.json", "page", "readyz", "static", "v1"})

_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")


def _checked_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError("write it as in /api/v3/prediction/commodity: parts of letters, digits and ._~-")
    if path == FORM_UPLOAD_PATH or path.split("/")[1] in RESERVED:
        raise ValueError("this address is the API's own: choose one below /api/")
    return path


def _checked_token(token: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("write 16 or more random letters or digits, as `openssl rand -hex 16` makes them")
    return token


class Robot(BaseModel):
    """A robot: where it calls, with what token, and how it is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    path: Annotated[str, AfterValidator(_checked_path)] = Field(
        default="/api/v3/prediction/commodity", max_length=200, description="The path that its console registers."
    )
    token: Annotated[SecretStr, AfterValidator(_checked_token)] | None = Field(
        default=None,
        description="Its `access_token`: 16 or more letters, digits and ._~- characters. A robot without one is "
        "answered only if the API requires no keys.",
    )
    model: str | None = Field(default=None, description="The model. Default: that of the settings.")
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Leave out detections below this score. Default: the model's own threshold.",
    )
    max_detections: int | None = Field(
        default=None, ge=1, le=10_000, description="Maximum number of detections: those with the highest scores."
    )
    tiles: Annotated[str, AfterValidator(checked_tiles)] = Field(
        default="off", description="off, auto, or rows x columns as in 2x3."
    )
    overlap: float = Field(
        default=0.2, ge=0, le=0.8, description="The least part of a tile's side that its neighbour shows too."
    )
    deadline_seconds: float = Field(
        default=5.0, gt=0, le=60, description="After this time it is answered with an error, and should try again."
    )
    rate: Annotated[str, AfterValidator(checked_rate)] = Field(
        default="", description="Its rate limit, as in 10/second;1000/minute. Empty: no limit."
    )
    owner: Name | None = Field(default=None, description="The owner of its jobs, as of an API key. Default: no owner.")

    def options(self, default_model: str) -> JobOptions:
        """Return the options of the robot's jobs."""
        model = self.model or default_model
        return JobOptions(model, self.threshold, self.max_detections, tiles=self.tiles, overlap=self.overlap)


def read_robots(text: Any) -> Any:  # noqa: ANN401  the value is not checked yet
    """Read the robots of a setting: JSON, or the path of a TOML file with a [[robots]] table for each robot.

    Return what was written, not yet checked, and any value but text as it is. Raises ValueError, whose message contains
    no token.
    """
    if not isinstance(text, str):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            robots = json.loads(text)
        except ValueError as error:
            at = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "?"
            raise ValueError(f"this is not JSON (at {at})") from None
        return [robots] if isinstance(robots, dict) else robots
    try:
        document = tomllib.loads(Path(text).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(
            f"the file cannot be read ({error.strerror}): write JSON, or the path of a TOML file"
        ) from None
    except ValueError as error:
        position = re.search(r"\(at .*\)", str(error))
        raise ValueError(f"the file is not TOML {position[0] if position else ''}".rstrip()) from None
    if document.keys() != {"robots"}:
        raise ValueError("the file must have a [[robots]] table for each robot, and nothing else")
    return document["robots"]


def check_robots(robots: tuple[Robot, ...], info: ValidationInfo) -> tuple[Robot, ...]:
    """Raise ValueError if two robots have the same path, or a robot names a model that the settings do not."""
    served = (info.data.get("model", ""), *info.data.get("more_models", ()), *models_in(info.data.get("models")))
    paths = [robot.path for robot in robots]
    for number, robot in enumerate(robots):
        if robot.path in paths[:number]:
            raise ValueError(f"two robots have the path {robot.path}")
        if robot.model is not None and robot.model not in served:
            raise ValueError(f"robot {number} has the model {robot.model!r}, which is not in SHELFLINE_MORE_MODELS")
    return robots
