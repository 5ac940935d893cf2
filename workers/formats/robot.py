"""The Baidu robot's result bodies: one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from workers.baidu import baidu_body, request_id_of
from workers.formats.source import ResultSource


def write_baidu(source: ResultSource) -> Iterator[str]:
    """A body for each image; `requestId` is its `custom_id`, or where it has none `<job>/<index>`."""
    labels = source.labels
    for line in source.lines():
        result = json.loads(line)
        body = baidu_body(result, request_id_of(result, source.job), labels.root, labels.score_threshold)
        yield json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n"
