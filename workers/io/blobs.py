"""The blob store: image bytes, manifests and sealed results, at any fsspec URL."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import BinaryIO, Self

from fsspec.implementations.local import LocalFileSystem

from serving.errors import ShelflineError
from workers.errors import ImageMissingError, ImageTooLargeError, SettingsError, StoreUnavailableError
from workers.io.file_systems import open_file_system
from workers.io.local_files import PIECE_BYTES, PRIVATE_FOLDER, DiskSync, make_folder, write_file
from workers.settings import Settings

_OPEN_FOLDER = 0o777  # less the umask
_NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT))
_RETRY_WHEN_FULL = 30  # seconds
_CHECK_SECONDS = 5.0


class BlobStore:
    """Bytes by path, in a local folder (the default), `memory://`, `s3://`, or any other store that fsspec opens.

    Paths are relative and never chosen by a caller. In a local folder, what is written is synced to the disk unless
    `durable` is False. Whoever may read the folder itself may read what is in it; a `private` one that is missing is
    made for this user alone.
    """

    def __init__(self, url: str, *, durable: bool = True, private: bool = False) -> None:
        self._files, root = open_file_system(url)
        self._root = root.rstrip("/")
        self.is_folder = isinstance(self._files, LocalFileSystem)
        self._disk = DiskSync(self._root) if self.is_folder and durable else None
        self._new_root_mode = PRIVATE_FOLDER if private else _OPEN_FOLDER
        self._mode: int | None = None  # of folders; known once the root is there
        self._check: Future[None] | None = None  # one at a time, or a store that hangs would take a thread each time
        self._checking = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the blob store of the settings."""
        return cls(settings.blob_url, durable=settings.blob_sync, private=True)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def write(self, path: str, content: BinaryIO, *, durable: bool = True) -> int:
        """Store all of `content`, whole or not at all; return its size in bytes. Raises StoreUnavailableError.

        The content is copied in pieces of 1 MiB, so memory does not grow with it. If it is not written `durable`, call
        `sync` before anything relies on it.
        """
        full = self._path(path)
        with self._translated("written"):
            if self.is_folder:
                size = write_file(full, content, self._folder_mode())
                if durable:
                    self.sync([path])
                return size
            self._files.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            with self._files.open(full, "wb") as out:
                shutil.copyfileobj(content, out, PIECE_BYTES)
                return int(out.tell())

    def sync(self, paths: Sequence[str]) -> None:
        """Make blobs that were written outlast a power failure. Raises StoreUnavailableError.

        Other stores than a folder have done so when `write` returns.
        """
        if self._disk is not None and paths:
            with self._translated("written"):
                self._disk.sync_files([self._path(path) for path in paths])

    def _folder_mode(self) -> int:
        if self._mode is None:
            try:
                self._mode = os.stat(self._root).st_mode & 0o777  # noqa: PTH116
            except FileNotFoundError:
                make_folder(self._root, self._new_root_mode)
                return self._folder_mode()
        return self._mode

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a blob of at most `max_bytes` bytes.

        Raises ImageMissingError, ImageTooLargeError (it has more bytes), StoreUnavailableError.
        """
        with self._opened(path) as file:
            return bounded(file, max_bytes)

    def read_lines(self, path: str, offset: int, count: int) -> tuple[list[bytes], int]:
        """Return up to `count` lines from byte `offset`, and the offset after them.

        Raises ImageMissingError if there is no such blob, StoreUnavailableError.
        """
        lines: list[bytes] = []
        with self._opened(path) as file:
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
        """Raise StoreUnavailableError if nothing can be written within five seconds."""
        with self._checking:
            if self._check is None or self._check.done():
                self._check = Future()
                threading.Thread(target=self._write_check, args=(self._check,), name="blob-check", daemon=True).start()
            check = self._check
        try:
            check.result(_CHECK_SECONDS)
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"The blob store does not answer within {_CHECK_SECONDS:g} s: check BLOB_URL and its mount."
            ) from error

    def _write_check(self, check: Future[None]) -> None:
        """Write a blob, in a thread, which alone hangs if the store does."""
        try:
            with self._translated("written"):
                if self.is_folder:
                    self._folder_mode()
                self._files.makedirs(self._root, exist_ok=True)
                self._files.pipe_file(self._path("check"), b"ok")
        except BaseException as error:  # noqa: BLE001  raised by `check`
            check.set_exception(error)
        else:
            check.set_result(None)

    @contextmanager
    def _opened(self, path: str) -> Iterator[BinaryIO]:
        with self._translated("read"):
            try:
                with self._files.open(self._path(path), "rb") as file:
                    yield file
            except FileNotFoundError as error:
                raise ImageMissingError("The image's bytes are no longer in the blob store.") from error

    def write_once(self, path: str, content: bytes, max_bytes: int) -> bytes:
        """Store a blob unless there is one, and return the one that is stored, of at most `max_bytes` bytes.

        Of several processes that do this at once in a folder, all return the same. Raises ImageTooLargeError,
        StoreUnavailableError.
        """
        full = self._path(path)
        with self._translated("written"):
            if not self._files.exists(full):
                if self.is_folder:
                    self._write_unless_there(full, content)
                    self.sync([path])
                else:
                    self._files.makedirs(self._root, exist_ok=True)
                    self._files.pipe_file(full, content)
        return self.read(path, max_bytes)

    def _write_unless_there(self, path: str, content: bytes) -> None:
        temporary = f"{path}.{secrets.token_hex(8)}"
        write_file(temporary, io.BytesIO(content), self._folder_mode())
        try:
            os.link(temporary, path)
        except FileExistsError:  # another process was faster
            return
        finally:
            os.unlink(temporary)  # noqa: PTH108

    def free_bytes(self) -> int | None:
        """Return the free space of the folder's file system, None for another store. Raises StoreUnavailableError."""
        if not self.is_folder:
            return None
        with self._translated("read"):
            return shutil.disk_usage(self._root).free

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
            is_full = isinstance(error, OSError) and error.errno in _NO_SPACE
            raise StoreUnavailableError(
                f"The blob store cannot be {action} ({_reason(error)}): check BLOB_URL.",
                retry_after=_RETRY_WHEN_FULL if is_full else 1,
            ) from error


def check_blobs(url: str) -> None:
    """Check the blob store when a process starts.

    Raises SettingsError if the URL opens no store, StoreUnavailableError if it is a folder that cannot be written.
    Other stores are not tried: a store that is down now may be back soon, but an unwritable folder stays unwritable.
    """
    try:
        blobs = BlobStore(url, private=True)
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


def _reason(error: Exception) -> str:
    """Return what went wrong, without the path or the address, which callers must not see."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
