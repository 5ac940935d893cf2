"""Where image bytes and manifests are kept: any fsspec URL."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from serving.errors import ShelflineError
from workers.errors import ImageMissingError, ImageTooLargeError, SettingsError, StoreUnavailableError

_PIECE_BYTES = 1 << 20


class BlobStore(Protocol):
    """Bytes by path. Paths are relative, of the project's own making."""

    def write(self, path: str, content: BinaryIO) -> int:
        """Store all of `content`, whole or not at all; returns its bytes; raises StoreUnavailableError."""

    def read(self, path: str, most: int) -> bytes:
        """Read at most `most` bytes; raises ImageMissingError, ImageTooLargeError, StoreUnavailableError."""

    def read_lines(self, path: str, offset: int, count: int) -> tuple[list[bytes], int]:
        """Up to `count` lines from byte `offset`, and the offset behind them; raises StoreUnavailableError."""

    def delete_tree(self, path: str) -> None:
        """Delete a path and all below it; nothing happens where it is gone; raises StoreUnavailableError."""

    def check(self) -> None:
        """Raise StoreUnavailableError where nothing can be written."""


class FsspecBlobs:
    """The blob store on a local folder (the default), `memory://`, `s3://`, or whatever else fsspec opens."""

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self.is_folder = isinstance(self._files, LocalFileSystem)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def write(self, path: str, content: BinaryIO) -> int:
        """Store all of `content`, in pieces, whole or not at all; returns its bytes; raises StoreUnavailableError."""
        full = self._path(path)
        with self._translated("written"):
            if self.is_folder:
                return _write_file(full, content)
            self._files.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            with self._files.open(full, "wb") as out:
                shutil.copyfileobj(content, out, _PIECE_BYTES)
                return int(out.tell())

    def read(self, path: str, most: int) -> bytes:
        """Read at most `most` bytes; raises ImageMissingError, ImageTooLargeError, StoreUnavailableError."""
        with self._translated("read"):
            try:
                with self._files.open(self._path(path), "rb") as found:
                    return bounded(found, most)
            except FileNotFoundError as error:
                raise ImageMissingError("The image's bytes are no longer in the blob store.") from error

    def read_lines(self, path: str, offset: int, count: int) -> tuple[list[bytes], int]:
        """Up to `count` lines from byte `offset`, and the offset behind them; raises StoreUnavailableError."""
        lines: list[bytes] = []
        with self._translated("read"), self._files.open(self._path(path), "rb") as found:
            found.seek(offset)
            while len(lines) < count and (line := found.readline()):
                lines.append(line)
                offset += len(line)
        return lines, offset

    def delete_tree(self, path: str) -> None:
        """Delete a path and all below it; nothing happens where it is gone; raises StoreUnavailableError."""
        with self._translated("written"), suppress(FileNotFoundError):
            self._files.rm(self._path(path), recursive=True)

    def check(self) -> None:
        """Raise StoreUnavailableError where nothing can be written."""
        with self._translated("written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(self._path("check"), b"ok")

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        """Raise StoreUnavailableError for the errors of the store: the system's, or those of its own library."""
        try:
            yield
        except ShelflineError:
            raise
        except Exception as error:
            if self.is_folder and not isinstance(error, OSError):
                raise
            raise StoreUnavailableError(
                f"The blob store cannot be {done} ({_reason(error)}): check BLOB_URL."
            ) from error


def check_blobs(url: str) -> None:
    """For a process that starts: raises SettingsError where the URL opens no store, StoreUnavailableError for a folder.

    A folder that cannot be written stays so; a store that is somewhere else may be back soon.
    """
    try:
        blobs = FsspecBlobs(url)
    except (ValueError, ImportError) as error:
        raise SettingsError(f"Setting blob_url is wrong: {error}.") from error
    if blobs.is_folder:
        blobs.check()


def bounded(found: BinaryIO, most: int) -> bytes:
    """Read all of an open file; raises ImageTooLargeError where it has more than `most` bytes."""
    content = found.read(most + 1)
    if len(content) > most:
        raise ImageTooLargeError(f"The image has more than {most} bytes: make it smaller, or raise the limit.")
    return content


def _write_file(path: str, content: BinaryIO) -> int:
    """Without fsspec, which takes three times as long for a small file, and pathlib, which costs as much as writing.

    Object stores show an object when it is complete; a file would show what is written so far, so it is renamed.
    """
    beside = f"{path}.{secrets.token_hex(4)}.part"
    try:
        out = open(beside, "wb")  # noqa: SIM115, PTH123  closed below
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        out = open(beside, "wb")  # noqa: SIM115, PTH123
    with out:
        shutil.copyfileobj(content, out, _PIECE_BYTES)
        size = out.tell()
    os.replace(beside, path)  # noqa: PTH105
    return size


def _reason(error: Exception) -> str:
    """What went wrong, without the path or the address that an answer must not show."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
