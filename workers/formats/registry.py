"""The formats by name, and which one a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from workers.formats.coco import write_coco
from workers.formats.document import write_json
from workers.formats.jsonl import write_jsonl
from workers.formats.robot import write_baidu
from workers.formats.source import Writer
from workers.formats.table import write_csv


class FormatName(StrEnum):
    """A format of results."""

    JSONL = "jsonl"
    JSON = "json"
    COCO = "coco"
    CSV = "csv"
    BAIDU = "baidu"


@dataclass(frozen=True)
class Format:
    """How results are written: by whom, as which media type, into a file with which suffix."""

    write: Writer
    media_type: str
    suffix: str


FORMATS: Mapping[FormatName, Format] = MappingProxyType(
    {
        FormatName.JSONL: Format(write_jsonl, "application/x-ndjson", ".jsonl"),
        FormatName.JSON: Format(write_json, "application/json", ".json"),
        FormatName.COCO: Format(write_coco, "application/json", ".coco.json"),
        FormatName.CSV: Format(write_csv, "text/csv", ".csv"),
        FormatName.BAIDU: Format(write_baidu, "application/x-ndjson", ".baidu.jsonl"),
    }
)
