"""The formats of results by name, with the writers of the short ones: JSON lines, JSON and Baidu's bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from workers.jobs.result import compact_json
from workers.results.baidu import baidu_body, request_id_of
from workers.results.formats.coco import write_coco
from workers.results.formats.csv_table import write_csv
from workers.results.formats.source import ResultSource, Writer


class FormatName(StrEnum):
    """A format of results."""

    JSONL = "jsonl"
    JSON = "json"
    COCO = "coco"
    CSV = "csv"
    BAIDU = "baidu"


@dataclass(frozen=True)
class Format:
    """How results are written: the writer, the media type and the suffix of a file."""

    write: Writer
    media_type: str
    suffix: str


def write_jsonl(source: ResultSource) -> Iterator[str]:
    """Yield the results, one line each."""
    for line in source.lines():
        yield line
        yield "\n"


def write_json(source: ResultSource) -> Iterator[str]:
    """Yield `{"object": "list", "job": ..., "data": [...], "next": ...}`."""
    yield f'{{"object":"list","job":{json.dumps(source.job)},"data":['
    for number, line in enumerate(source.lines()):
        yield f",\n{line}" if number else f"\n{line}"
    yield f'\n],"next":{json.dumps(source.next_url)}}}\n'


def write_baidu(source: ResultSource) -> Iterator[str]:
    """Yield a line with Baidu's body for each image. `requestId` is its `custom_id`, or `<job>/<index>`."""
    for line in source.lines():
        result = json.loads(line)
        body = baidu_body(result, request_id_of(result, source.job), source.labels)
        yield compact_json(body) + "\n"


FORMATS: Mapping[FormatName, Format] = MappingProxyType(
    {
        FormatName.JSONL: Format(write_jsonl, "application/x-ndjson", ".jsonl"),
        FormatName.JSON: Format(write_json, "application/json", ".json"),
        FormatName.COCO: Format(write_coco, "application/json", ".coco.json"),
        FormatName.CSV: Format(write_csv, "text/csv", ".csv"),
        FormatName.BAIDU: Format(write_baidu, "application/x-ndjson", ".baidu.jsonl"),
    }
)
