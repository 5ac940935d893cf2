"""Where image bytes and manifests are kept: any fsspec URL."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from workers.errors import ImageMissingError, ImageTooLargeError, StoreUnavailableError

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
        self._local = isinstance(self._files, LocalFileSystem)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def write(self, path: str, content: BinaryIO) -> int:
        """Store all of `content`, in pieces, whole or not at all; returns its bytes; raises StoreUnavailableError."""
        full = self._path(path)
        try:
            if self._local:
                return _write_file(Path(full), content)
            self._files.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            with self._files.open(full, "wb") as out:
                shutil.copyfileobj(content, out, _PIECE_BYTES)
                return int(out.tell())
        except OSError as error:
            raise StoreUnavailableError(
                f"The blob store cannot be written ({_reason(error)}): check BLOB_URL."
            ) from error

    def read(self, path: str, most: int) -> bytes:
        """Read at most `most` bytes; raises ImageMissingError, ImageTooLargeError, StoreUnavailableError."""
        try:
            with self._files.open(self._path(path), "rb") as found:
                return bounded(found, most)
        except FileNotFoundError as error:
            raise ImageMissingError("The image's bytes are no longer in the blob store.") from error
        except OSError as error:
            raise StoreUnavailableError(f"The blob store cannot be read ({_reason(error)}): check BLOB_URL.") from error

    def read_lines(self, path: str, offset: int, count: int) -> tuple[list[bytes], int]:
        """Up to `count` lines from byte `offset`, and the offset behind them; raises StoreUnavailableError."""
        lines: list[bytes] = []
        try:
            with self._files.open(self._path(path), "rb") as found:
                found.seek(offset)
                while len(lines) < count and (line := found.readline()):
                    lines.append(line)
                    offset += len(line)
        except OSError as error:
            raise StoreUnavailableError(f"The blob store cannot be read ({_reason(error)}): check BLOB_URL.") from error
        return lines, offset

    def delete_tree(self, path: str) -> None:
        """Delete a path and all below it; nothing happens where it is gone; raises StoreUnavailableError."""
        try:
            self._files.rm(self._path(path), recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreUnavailableError(
                f"The blob store cannot be written ({_reason(error)}): check BLOB_URL."
            ) from error

    def check(self) -> None:
        """Raise StoreUnavailableError where nothing can be written."""
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(self._path("check"), b"ok")
        except OSError as error:
            raise StoreUnavailableError(
                f"The blob store cannot be written ({_reason(error)}): check BLOB_URL."
            ) from error


def bounded(found: BinaryIO, most: int) -> bytes:
    """Read all of an open file; raises ImageTooLargeError where it has more than `most` bytes."""
    content = found.read(most + 1)
    if len(content) > most:
        raise ImageTooLargeError(f"The image has more than {most} bytes: make it smaller, or raise the limit.")
    return content


def _write_file(path: Path, content: BinaryIO) -> int:
    """Without fsspec, which takes three times as long for a small file.

    Object stores show an object when it is complete; a file would show what is written so far, so it is renamed.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        out = beside.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = beside.open("wb")
    with out:
        shutil.copyfileobj(content, out, _PIECE_BYTES)
        size = out.tell()
    beside.replace(path)
    return size


def _reason(error: OSError) -> str:
    """What went wrong, without the path that an answer must not show."""
    return error.strerror or type(error).__name__
