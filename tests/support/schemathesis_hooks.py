"""What schemathesis cannot know: which folder there is, where a body has its options, which of them go together."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import GenerationMode

from serving.boxes.tiles import MAX_TILES

COURSE, ROBOT = "POST /api/v1/prediction/commodity", "POST /api/v3/prediction/commodity"
HELPED = {"POST /v1/jobs", "POST /v1/detect", "POST /v1/webhooks", "PUT /v1/webhooks/{webhook_id}", COURSE, ROBOT}
FILES = ("images", "archive", "manifest")
MOST_HEADER_CHARS = 4000
ROOT = os.environ["SHELFLINE_TEST_FOLDER"]
THERE = {
    "folder": f"{ROOT}/photos",
    "image": base64.b64encode((Path(ROOT) / "photos" / "a.png").read_bytes()).decode(),
    "manifest": f"{ROOT}/list.jsonl",
    "model": "default",
    "url": "http://photos.invalid/a.jpg",  # a name that nobody has (RFC 6761)
}


@schemathesis.hook
def before_call(context: Any, case: Any, _kwargs: dict[str, Any]) -> None:  # noqa: ARG001  schemathesis' signature
    """Let right requests name what there is, so that jobs come of them."""
    right = case.meta.generation.mode == GenerationMode.POSITIVE
    for name, value in list((case.headers or {}).items()):
        if len(value) > MOST_HEADER_CHARS:  # the server reads no more, and says 431, whatever was asked
            case.headers[name] = "{}" if right else value[:MOST_HEADER_CHARS]
            case._record_starting_state()
    if case.operation.label not in HELPED or not right:
        return
    if case.operation.label == ROBOT:
        case.query = {"access_token": os.environ["SHELFLINE_TEST_ROBOT_TOKEN"]}
    elif case.media_type in {"application/json", "multipart/form-data"}:
        case.query = {}
    for name in case.headers or ():
        if name.lower() == "shelfline-webhook":
            case.headers[name] = json.dumps({"url": THERE["url"]})
    for given in (case.query, case.body):
        if isinstance(given, dict):
            _help(given)
    # Schemathesis would judge what a hook changed anew, and calls any body with a file wrong.
    case._record_starting_state()  # its own way to say that it is as it shall be


def _help(given: dict[str, Any]) -> None:
    for extra in [name for name in FILES if name in given][1:]:
        del given[extra]  # exactly one: schemathesis does not check bodies with files
    if not given.get("output_url"):  # they say how it is filled
        given.pop("annotate", None)
        given.pop("output_formats", None)
    if given.get("items") is not None:  # nothing is chosen of what was named one by one
        for name in ("include", "exclude", "limit", "sample", "seed"):
            given.pop(name, None)
    items = given.get("items")
    for document in (given, given.get("webhook"), *(items if isinstance(items, list) else ())):
        if isinstance(document, dict):
            document |= {name: there for name, there in THERE.items() if isinstance(document.get(name), str)}
    rows, by, columns = str(given.get("tiles", "")).partition("x")
    if by and int(rows) * int(columns) > MAX_TILES:
        given["tiles"] = "8x8"
