"""What schemathesis cannot know: which folder there is, and which bodies have their options in the query."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import GenerationMode

ROOT = os.environ["SHELFLINE_TEST_FOLDER"]
THERE = {
    "folder": f"{ROOT}/photos",
    "image": base64.b64encode((Path(ROOT) / "photos" / "a.png").read_bytes()).decode(),
    "manifest": f"{ROOT}/list.jsonl",
    "model": "default",
    "url": "http://192.0.2.1/a.jpg",  # an address of no one
}


@schemathesis.hook
def before_call(context: Any, case: Any, _kwargs: dict[str, Any]) -> None:  # noqa: ARG001  schemathesis' signature
    """Let right requests for a job name what there is, so that jobs come of them; and webhooks be what they may be."""
    if case.meta and case.meta.generation.mode == GenerationMode.POSITIVE and isinstance(case.body, dict):
        if "/webhooks" in case.operation.path:
            _fit_webhook(case.body)
        elif isinstance(case.body.get("webhook"), dict):
            _fit_webhook(case.body["webhook"])
    if case.operation.label not in {"POST /v1/jobs", "POST /v1/detect", "POST /api/v1/prediction/commodity"}:
        return
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.media_type in {"application/json", "multipart/form-data"}:
        case.query = {}
    if isinstance(case.body, dict):
        items = case.body.get("items")
        for given in (case.body, *(items if isinstance(items, list) else ())):
            given |= {name: there for name, there in THERE.items() if isinstance(given.get(name), str)}


def _fit_webhook(asked: dict[str, Any]) -> None:
    """What a schema cannot say: a URL that may be asked for, a right secret, events that fit the format."""
    if "url" in asked:
        asked["url"] = THERE["url"]
    if isinstance(asked.get("secret"), str):
        asked["secret"] = "whsec_" + "A" * 43 + "="
    if asked.get("format", "standard") != "standard" or asked.get("events") == []:
        asked.pop("events", None)
