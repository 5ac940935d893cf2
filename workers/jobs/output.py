"""What a job writes where its caller keeps things: the results in files, a summary, pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

OutputFormat = Literal["coco", "csv", "parquet"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)


@dataclass(frozen=True)
class Output:
    """Where to, in which formats beside JSON lines, and of how many images, at most, with their boxes drawn."""

    url: str
    formats: tuple[OutputFormat, ...] = ()
    annotate: int = 0

    def to_json(self) -> str:
        """As it is kept with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        return cls(found["url"], tuple(found["formats"]), found["annotate"])

    def folder(self, job: str) -> str:
        """Where a job's files are: no two jobs write the same ones."""
        return f"{self.url.rstrip('/')}/{job}"
