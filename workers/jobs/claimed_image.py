"""An image that a worker has claimed."""

from __future__ import annotations

from dataclasses import dataclass

from workers.jobs.job import ImageSource
from workers.jobs.options import JobOptions, Lane


@dataclass(frozen=True)
class ClaimedImage:
    """A claimed image: the entry that names it in its lane, and what a worker needs to process it."""

    stream: str
    entry: str
    job: str
    index: int
    attempt: str  # number of the entry; a result of an older attempt is ignored
    faults: int  # failures so far that may be the image's own
    starts: int  # processes that began it and neither settled it nor handed it back
    name: str
    ref: str
    custom_id: str
    rows: int  # rows of the model that it makes, estimated before it is decoded
    options: JobOptions
    request_id: str = ""  # id of the HTTP request that created its job
    trace: str = ""  # traceparent of that request

    @property
    def lane(self) -> Lane:
        """The lane that it came from."""
        return "interactive" if self.stream.endswith(":interactive") else "bulk"

    @property
    def waits_since(self) -> float:
        """When it was put into its lane, in seconds since the epoch by Redis' clock."""
        return int(self.entry.partition("-")[0]) / 1000

    @property
    def source(self) -> ImageSource:
        """The image as the job's manifest names it."""
        return ImageSource(self.name, self.ref, self.custom_id)

    @property
    def key(self) -> tuple[str, str]:
        """Its stream and entry id, which identify it in Redis."""
        return self.stream, self.entry
