"""How much memory a worker may take, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.settings import Settings
from workers.sources.memory.budget import budget_bytes

_PROCESS_BYTES: Final = 160_000_000  # of a process that decodes nothing, with a model server's client (measured)
_COPIES: Final = 3  # of a file that is decoded: itself, without what is damaged in it, and with an end
_COPIES_AS_IT_COMES: Final = 2  # of a file that is fetched
_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class WorkerMemory:
    """The most bytes of memory that a worker takes.

    Each of `processes` takes `own` by itself, `decoding` for the pixels of all images that it decodes, `decoded_files`
    for their files, and `fetched_files` for images that it fetches by URL. `beside` is what the main process takes, if
    that is another one.
    """

    processes: int
    own: int
    decoding: int
    decoded_files: int
    fetched_files: int
    beside: int

    @property
    def of_a_process(self) -> int:
        """Return the most bytes of one process."""
        return self.own + self.decoding + self.decoded_files + self.fetched_files

    @property
    def total(self) -> int:
        """Return the most bytes of all processes."""
        return self.processes * self.of_a_process + self.beside


def worker_memory(settings: Settings) -> WorkerMemory:
    """Return the most memory that a worker with these settings takes."""
    prefork = settings.pool == "prefork"
    return WorkerMemory(
        processes=settings.concurrency if prefork else 1,
        own=_PROCESS_BYTES,
        decoding=budget_bytes(settings.max_image_pixels),
        decoded_files=settings.decode_threads * _COPIES * settings.max_image_bytes,
        fetched_files=settings.fetch_threads * _COPIES_AS_IT_COMES * settings.max_image_bytes,
        beside=_PROCESS_BYTES if prefork else 0,
    )


def memory_limit() -> int | None:
    """Return the bytes of memory of this machine, or of its container if that may use less; None if unknown."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    if "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # `max`: no limit
            yield int(text)
