"""The output of a job: files with its results, a summary and drawn images, at a place of the caller's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

OutputFormat = Literal["coco", "csv", "parquet"]


@dataclass(frozen=True)
class Output:
    """Where and how a job writes its results.

    `url` is the folder, `formats` are written beside JSON lines, and at most `annotate` images are drawn with boxes.
    """

    url: str
    formats: tuple[OutputFormat, ...] = ()
    annotate: int = 0

    def to_json(self) -> str:
        """Return the output as JSON, as it is stored with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        return cls(stored["url"], tuple(stored["formats"]), stored["annotate"])

    def folder(self, job: str) -> str:
        """Return the URL of the folder of a job's files; each job has its own, so no job overwrites another's files."""
        return f"{self.url.rstrip('/')}/{job}"
