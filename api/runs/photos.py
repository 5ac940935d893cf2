"""One photo of a run, and how its bytes are read."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: its name in the results, its absolute path, its bytes and last change (ns) when it was listed."""

    name: str
    path: str
    size: int = 0
    changed: int = 0

    @property
    def stamp(self) -> tuple[int, int]:
        """What tells it from another photo under its path."""
        return self.size, self.changed


def open_photo(path: str | os.PathLike[str]) -> BinaryIO:
    """A photo opened for reading; raises OSError, also for what is no plain file (a pipe would never end)."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115, PTH123  a descriptor
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", os.fspath(path))
    return file


def stamp_of(path: str) -> tuple[int, int]:
    """The bytes of a file, and when it changed last (ns since 1970); zeros where that cannot be told."""
    try:
        found = os.stat(path)  # noqa: PTH116  100,000 of them: no object for each
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
