"""What a robot sends and is answered, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, RootModel

from api.robot_request import LONGEST, MOST_ID_CHARS, SHORTEST
from workers.jobs.document import Document


class RobotQuery(BaseModel):
    """The robot's token."""

    access_token: str = Field(default="", description="The robot's own token, where its setting names one.")


class RobotRequest(BaseModel):
    """A photo. Further members are left aside."""

    request_id: str = Field(alias="requestId", min_length=1, max_length=MOST_ID_CHARS, description="It is answered.")
    image: str = Field(
        description="The image file in base64, without a `data:` prefix, also percent-encoded; at most 10 MB, a side "
        f"{SHORTEST} to {LONGEST} pixels."
    )


class RobotRowDocument(Document):
    """One thing that was found."""

    score: float = Field(ge=0, le=1)
    root: str = Field(description="The category path of the label, empty where it has none.")
    keyword: str = Field(description="The label.")


class RobotResultDocument(Document):
    """What was found, best first."""

    request_id: str = Field(alias="requestId")
    result: list[RobotRowDocument]
    result_num: int = Field(alias="resultNum", description="How many rows `result` has.")
    filter_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        alias="filterThreshold", description="No row is below it."
    )
    ext_infos: dict[str, Any] = Field(alias="extInfos")


class RobotErrorDocument(Document):
    """Why there is no result."""

    error_code: int
    error_msg: str
    request_id: str = Field(alias="requestId", description="Empty where the request named none.")


class RobotAnswerDocument(RootModel[RobotResultDocument | RobotErrorDocument]):
    """What was found, or why there is no result."""
