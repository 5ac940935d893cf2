"""Results as they are stored and shown: what was found, in pixels of the upright original."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.errors import ShelflineError
from workers.errors import DeadlineExceededError
from workers.jobs.claimed_image import Delivery
from workers.jobs.job import ImageSource, Outcome

if TYPE_CHECKING:  # who only reads results needs no client of a model
    from serving.client import ServedModel
    from serving.detections import Detections
    from workers.images import Prepared

_SIDES = ("ymin", "xmin", "ymax", "xmax")


def succeeded(delivery: Delivery, served: ServedModel, found: Detections, prepared: Prepared) -> Outcome:
    """The outcome of an image that went through the model; the job's own limits are applied here.

    Boxes come normalised to the upright original, and are given both ways.
    """
    width, height = prepared.width, prepared.height
    options, labels = delivery.options, served.contract.label_by_id
    detections: list[dict[str, Any]] = []
    for box, score, label_id in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        if options.min_score is not None and score < options.min_score:
            break  # best first
        if len(detections) == options.max_detections:
            break
        label = labels.get(label_id)
        sides = [min(1.0, max(0.0, side)) for side in box]
        pixels = [round(side * size, 2) for side, size in zip(sides, (height, width, height, width), strict=True)]
        detections.append(
            {
                "label": label.name if label else f"class {label_id}",
                "score": round(score, 6),
                "box": dict(zip(_SIDES, pixels, strict=True)),
                "box_normalized": dict(zip(_SIDES, (round(side, 6) for side in sides), strict=True)),
            }
        )
    result = {
        **_head(delivery.index, delivery.source),
        "state": "succeeded",
        "width": width,
        "height": height,
        "model": served.name,
        "model_version": served.version,
        **({"tiles": str(prepared.grid)} if prepared.grid else {}),
        "detections": detections,
    }
    return _outcome(delivery, "succeeded", result, served.version, len(prepared.rows))


def known(delivery: Delivery, result: Mapping[str, Any]) -> Outcome:
    """The outcome of an image whose result was made before."""
    found = {**_head(delivery.index, delivery.source), "cached": True, **result}
    return _outcome(delivery, "succeeded", found, result["model_version"])


def failed(delivery: Delivery, error: ShelflineError) -> Outcome:
    """The outcome of an image that failed."""
    return _outcome(delivery, "failed", _failure(delivery.index, delivery.source, error), None)


def given_up(index: int, source: ImageSource, *, expired: bool) -> str:
    """The result of an image that was not processed, since its job was canceled or its time was over."""
    if expired:
        return _text(
            _failure(index, source, DeadlineExceededError("The job's time was over before this image's turn."))
        )
    return _text({**_head(index, source), "state": "canceled"})


def _head(index: int, source: ImageSource) -> dict[str, Any]:
    """What every result begins with; the caller's own id only where it gave one."""
    own = {"custom_id": source.custom_id} if source.custom_id else {}
    return {"index": index, "name": source.name, **own}


def _failure(index: int, source: ImageSource, error: ShelflineError) -> dict[str, Any]:
    problem = {"code": error.code, "detail": str(error), "retryable": error.retryable}
    return {**_head(index, source), "state": "failed", "error": problem}


def _outcome(delivery: Delivery, state: str, result: dict[str, Any], version: int | None, rows: int = 0) -> Outcome:
    return Outcome(
        stream=delivery.stream,
        entry=delivery.entry,
        job=delivery.job,
        index=delivery.index,
        attempt=delivery.attempt,
        state=state,
        model_version=version,
        result=_text(result),
        rows=rows,
    )


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))
