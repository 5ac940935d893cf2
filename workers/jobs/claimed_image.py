"""An image that a worker has claimed."""

from __future__ import annotations

from dataclasses import dataclass

from workers.jobs.job import ImageSource
from workers.jobs.options import JobOptions, Lane


@dataclass(frozen=True)
class Delivery:
    """One image in this worker's hands: the entry that names it, and what processing it needs."""

    stream: str
    entry: str
    job: str
    index: int
    attempt: str
    faults: int
    starts: int
    name: str
    ref: str
    custom_id: str
    rows: int  # that it makes, as far as one can tell before it is decoded
    options: JobOptions
    request_id: str = ""  # of the HTTP request that its job came by, and the traceparent of that
    trace: str = ""

    @property
    def lane(self) -> Lane:
        """The lane that it came from."""
        return "interactive" if self.stream.endswith(":interactive") else "bulk"

    @property
    def waits_since(self) -> float:
        """When it was put into its lane: seconds since the epoch, of Redis' clock."""
        return int(self.entry.partition("-")[0]) / 1000

    @property
    def source(self) -> ImageSource:
        """The image, as its job's manifest has it."""
        return ImageSource(self.name, self.ref, self.custom_id)

    @property
    def held(self) -> tuple[str, str]:
        """What identifies the delivery to Redis."""
        return self.stream, self.entry
