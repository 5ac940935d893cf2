"""The blob store: image bytes, manifests and sealed results, at any fsspec URL."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from fsspec.implementations.local import LocalFileSystem

from serving.errors import ShelflineError
from workers.errors import ImageMissingError, ImageTooLargeError, SettingsError, StoreUnavailableError
from workers.io.file_systems import open_file_system

_PIECE_BYTES = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_HERE = secrets.token_hex(4)  # with process id and count, it makes the names of temporary files unique
_WRITES = itertools.count()


class BlobStore:
    """Bytes by path, in a local folder (the default), `memory://`, `s3://`, or any other store that fsspec opens.

    Paths are relative and never chosen by a caller.
    """

    def __init__(self, url: str) -> None:
        self._files, root = open_file_system(url)
        self._root = root.rstrip("/")
        self.is_folder = isinstance(self._files, LocalFileSystem)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def write(self, path: str, content: BinaryIO) -> int:
        """Store all of `content`, whole or not at all; return its size in bytes. Raises StoreUnavailableError.

        The content is copied in pieces of 1 MiB, so memory does not grow with it.
        """
        full = self._path(path)
        with self._translated("written"):
            if self.is_folder:
                return _write_file(full, content)
            self._files.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            with self._files.open(full, "wb") as out:
                shutil.copyfileobj(content, out, _PIECE_BYTES)
                return int(out.tell())

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a blob of at most `max_bytes` bytes.

        Raises ImageMissingError, ImageTooLargeError (it has more bytes), StoreUnavailableError.
        """
        with self._translated("read"):
            try:
                with self._files.open(self._path(path), "rb") as file:
                    return bounded(file, max_bytes)
            except FileNotFoundError as error:
                raise ImageMissingError("The image's bytes are no longer in the blob store.") from error

    def read_lines(self, path: str, offset: int, count: int) -> tuple[list[bytes], int]:
        """Return up to `count` lines from byte `offset`, and the offset after them. Raises StoreUnavailableError."""
        lines: list[bytes] = []
        with self._translated("read"), self._files.open(self._path(path), "rb") as file:
            file.seek(offset)
            while len(lines) < count and (line := file.readline()):
                lines.append(line)
                offset += len(line)
        return lines, offset

    def delete_tree(self, path: str) -> None:
        """Delete a path and everything below it, if it exists. Raises StoreUnavailableError."""
        with self._translated("written"), suppress(FileNotFoundError):
            self._files.rm(self._path(path), recursive=True)

    def check(self) -> None:
        """Raise StoreUnavailableError if nothing can be written."""
        with self._translated("written"):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(self._path("check"), b"ok")

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        """Raise StoreUnavailableError for every error of the store: the system's, or those of the store's library."""
        try:
            yield
        except ShelflineError:
            raise
        except Exception as error:
            if self.is_folder and not isinstance(error, OSError):
                raise
            raise StoreUnavailableError(
                f"The blob store cannot be {action} ({_reason(error)}): check BLOB_URL."
            ) from error


def check_blobs(url: str) -> None:
    """Check the blob store when a process starts.

    Raises SettingsError if the URL opens no store, StoreUnavailableError if it is a folder that cannot be written.
    Other stores are not tried: a store that is down now may be back soon, but an unwritable folder stays unwritable.
    """
    try:
        blobs = BlobStore(url)
    except (ValueError, ImportError) as error:
        raise SettingsError(f"BLOB_URL is wrong: {error}.") from error
    if blobs.is_folder:
        blobs.check()


def bounded(file: BinaryIO, max_bytes: int) -> bytes:
    """Read all of an open file. Raises ImageTooLargeError if it has more than `max_bytes` bytes."""
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ImageTooLargeError(f"The image has more than {max_bytes} bytes: make it smaller, or raise the limit.")
    return content


def _write_file(path: str, content: BinaryIO) -> int:
    """Write a local file under a temporary name, rename it, and return its size in bytes.

    The rename is for readers, who must never see a half-written file; object stores show only complete objects anyway.
    fsspec is not used, since it takes three times as long for a small file. System calls are few, since each one
    releases the GIL and, among many busy threads, has to wait for it again.
    """
    temporary = f"{path}.{os.getpid():x}-{_HERE}-{next(_WRITES):x}.part"
    try:
        out = os.open(temporary, _NEW_FILE, 0o666)
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))  # noqa: PTH120  pathlib is slower, here and below
        out = os.open(temporary, _NEW_FILE, 0o666)
    size = 0
    try:
        try:
            while piece := content.read(_PIECE_BYTES):
                written = 0
                while written < len(piece):
                    written += os.write(out, memoryview(piece)[written:])
                size += written
        finally:
            os.close(out)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:  # delete what was written, or repeated attempts would fill the disk
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    return size


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path)  # noqa: PTH102
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
    except FileExistsError:  # another thread was faster
        return


def _reason(error: Exception) -> str:
    """Return what went wrong, without the path or the address, which callers must not see."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
