"""A disk that a power failure leaves with what was synced, and nothing else.

It records each `os.fsync` of this process by inode: of a file its bytes, of a folder its names. What would be left
after a power failure is what can be reached from the root by synced names, with the bytes that were synced.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_Inode = tuple[int, int]


class Disk:
    """What was synced below a folder, whose own name and those above it are taken as synced."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bytes: dict[_Inode, bytes] = {}
        self._names: dict[_Inode, dict[str, _Inode]] = {}
        self.syncs = 0

    def synced(self, file: int) -> None:
        """Record a sync of an open file or folder."""
        self.syncs += 1
        status = os.fstat(file)
        inode = (status.st_dev, status.st_ino)
        path = Path(f"/proc/self/fd/{file}")
        if stat.S_ISDIR(status.st_mode):
            self._names[inode] = {name: _inode(path / name) for name in os.listdir(path)}  # noqa: PTH208  the names
        else:
            self._bytes[inode] = path.read_bytes()

    def survivors(self) -> dict[str, bytes]:
        """Return what a power failure now would leave: the files below the root by path, with their bytes."""
        files: dict[str, bytes] = {}
        self._collect(_inode(self._root), "", files)
        return files

    def _collect(self, folder: _Inode, path: str, files: dict[str, bytes]) -> None:
        for name, inode in self._names.get(folder, {}).items():
            if inode in self._bytes:
                files[path + name] = self._bytes[inode]
            elif inode in self._names:
                self._collect(inode, f"{path}{name}/", files)


def _inode(path: Path) -> _Inode:
    status = path.lstat()
    return status.st_dev, status.st_ino


@contextmanager
def recorded_syncs(root: Path, patch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Record what is synced from now on. The real `os.fsync` is not called, so that no test waits for the disk."""
    root.mkdir(parents=True, exist_ok=True)
    disk = Disk(root)
    patch.setattr(os, "fsync", disk.synced)
    yield disk
