"""Parse server-sent events (WHATWG HTML, 9.2.6), as far as the API uses the format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JobEvent:
    """An event of a job: `job` with its document, `items` with the finished images, or `deleted`."""

    name: str
    data: Any
    id: str

    @property
    def last(self) -> bool:
        """Return whether this is the last event of the job."""
        return self.name == "deleted" or (self.name == "job" and self.id == "end")

    @property
    def finished(self) -> list[int]:
        """The indexes of the images that this event reports as finished."""
        ranges = self.data["finished"] if self.name == "items" else ()
        return [index for first, last in ranges for index in range(first, last + 1)]


def parsed_events(lines: Iterable[str]) -> Iterator[JobEvent]:
    """Yield the events in the lines of a stream.

    An event without an empty line at its end was cut off, so it is left out. Raises ValueError if data is not JSON.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line:
            if "event" in fields:
                yield JobEvent(fields["event"], json.loads(fields.get("data", "null")), fields.get("id", ""))
            fields = {}
