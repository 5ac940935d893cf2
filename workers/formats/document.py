"""One JSON document, shaped like the API's other lists."""

from __future__ import annotations

import json
from collections.abc import Iterator

from workers.formats.source import ResultSource


def write_json(source: ResultSource) -> Iterator[str]:
    """`{"object": "list", "job": ..., "data": [...], "next": ...}`."""
    yield f'{{"object":"list","job":{json.dumps(source.job)},"data":['
    for number, line in enumerate(source.lines()):
        yield f",\n{line}" if number else f"\n{line}"
    yield f'\n],"next":{json.dumps(source.next_url)}}}\n'
