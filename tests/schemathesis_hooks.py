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
    """Let right requests for a job name what there is, so that jobs come of them."""
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
