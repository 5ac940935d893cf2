"""Results of images as they are stored and returned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import ShelflineError
from workers.errors import DeadlineExceededError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import ImageSource


@dataclass(frozen=True)
class Outcome:
    """The result (JSON) of a claimed image, to be stored. `version` is the model's, None if the image failed."""

    image: ClaimedImage
    state: str
    result: str
    version: int | None = None
    rows: int = 0  # rows that the model processed; 0 if the image failed or its result was cached


def cached(image: ClaimedImage, result: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an image whose result was in the cache."""
    full = {**head(image.index, image.source), "cached": True, **result}
    return Outcome(image, "succeeded", compact_json(full), result["model_version"])


def failed(image: ClaimedImage, error: ShelflineError) -> Outcome:
    """Return the outcome of an image that failed."""
    return Outcome(image, "failed", compact_json(_failure(image.index, image.source, error)))


def given_up(index: int, source: ImageSource, *, expired: bool) -> str:
    """Return the result (JSON) of an image that was given up: its job was canceled or, if `expired`, out of time."""
    if expired:
        late = DeadlineExceededError("The job's time was over before this image's turn.")
        return compact_json(_failure(index, source, late))
    return compact_json({**head(index, source), "state": "canceled"})


def head(index: int, source: ImageSource) -> dict[str, Any]:
    """Return the first fields of every result; `custom_id` only if the caller gave one."""
    own = {"custom_id": source.custom_id} if source.custom_id else {}
    return {"index": index, "name": source.name, **own}


def _failure(index: int, source: ImageSource, error: ShelflineError) -> dict[str, Any]:
    problem = {"code": error.code, "detail": str(error), "retryable": error.retryable}
    return {**head(index, source), "state": "failed", "error": problem}


def compact_json(document: object) -> str:
    """Return a document as JSON, in the form that results are stored and sent in."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
