"""Results of images as they are stored and returned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.errors import ShelflineError
from workers.errors import DeadlineExceededError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import ImageSource, Outcome


def cached(image: ClaimedImage, result: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an image whose result was in the cache."""
    full = {**head(image.index, image.source), "cached": True, **result}
    return outcome_of(image, "succeeded", full, result["model_version"])


def failed(image: ClaimedImage, error: ShelflineError) -> Outcome:
    """Return the outcome of an image that failed."""
    return outcome_of(image, "failed", _failure(image.index, image.source, error), None)


def given_up(index: int, source: ImageSource, *, expired: bool) -> str:
    """Return the result (JSON) of an image that was given up: its job was canceled or, if `expired`, out of time."""
    if expired:
        return _text(
            _failure(index, source, DeadlineExceededError("The job's time was over before this image's turn."))
        )
    return _text({**head(index, source), "state": "canceled"})


def head(index: int, source: ImageSource) -> dict[str, Any]:
    """Return the first fields of every result; `custom_id` only if the caller gave one."""
    own = {"custom_id": source.custom_id} if source.custom_id else {}
    return {"index": index, "name": source.name, **own}


def _failure(index: int, source: ImageSource, error: ShelflineError) -> dict[str, Any]:
    problem = {"code": error.code, "detail": str(error), "retryable": error.retryable}
    return {**head(index, source), "state": "failed", "error": problem}


def outcome_of(image: ClaimedImage, state: str, result: dict[str, Any], version: int | None, rows: int = 0) -> Outcome:
    """Return the outcome of an image with its result. `rows` were processed by the model."""
    return Outcome(
        stream=image.stream,
        entry=image.entry,
        job=image.job,
        index=image.index,
        attempt=image.attempt,
        state=state,
        model_version=version,
        result=_text(result),
        rows=rows,
    )


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))
