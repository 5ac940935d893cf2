"""Store uploads while they are received: all parts of a request go into one temporary file, or memory if small.

Werkzeug stores each part separately: in up to 500 kB of memory, and above that in an open file. A job of some
thousand photos would exhaust the memory or the file descriptors.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from flask import Request

from api.http.errors import SpoolFullError, UnsupportedMediaTypeError
from api.requests.multipart import MultipartParser

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_PIECE_BYTES = 1 << 18
_MEMORY_BYTES = 1 << 18  # per request: so 256 threads hold 64 MB at most


class Spool:
    """An unnamed temporary file to which parts are appended. It starts in memory, and moves to disk when it grows."""

    def __init__(self) -> None:
        self._start = bytearray()
        self._file: io.FileIO | None = None
        self.size = 0

    def append(self, data: ReadableBuffer) -> int:
        """Append bytes and return their number; raises SpoolFullError."""
        view = memoryview(data).cast("B")
        if self._file is None and self.size + len(view) <= _MEMORY_BYTES:
            self._start += view
        else:
            if self._file is None:
                self._file = _temporary_file()
                _write(self._file, memoryview(self._start))
                self._start = bytearray()
            _write(self._file, view)
        self.size += len(view)
        return len(view)

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset`. There is no file position, so parts can be read in any order."""
        if self._file is None:
            return bytes(memoryview(self._start)[offset : offset + count])
        return os.pread(self._file.fileno(), count, offset)

    def close(self) -> None:
        """Free the disk space."""
        if self._file is not None:
            self._file.close()


def _temporary_file() -> io.FileIO:
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise SpoolFullError(
            f"The API cannot create a file in its temporary folder: {error.strerror}. Try again later."
        ) from error


def _write(file: io.FileIO, data: memoryview) -> None:
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:
        raise SpoolFullError(
            f"The API cannot write the upload to its temporary folder: {error.strerror}. Try again later."
        ) from error


class SpooledPart(io.RawIOBase):
    """A part of a spool as a file object. It must be written completely before the next part begins."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self._start = spool.size
        self._length = 0
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True; writes are appended."""
        return True

    def seekable(self) -> bool:
        """Return True; reads may start at any byte."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Append bytes and return their number; raises SpoolFullError."""
        written = self._spool.append(data)
        self._length += written
        self._at = self._length
        return written

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read the next bytes into a buffer and return their number."""
        view = memoryview(buffer).cast("B")
        data = self._spool.read(self._start + self._at, min(len(view), self._length - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position for reading, within the part, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = min(max(0, base + offset), self._length)
        return self._at


class UploadRequest(Request):
    """A request whose uploads go into one spool. A broken upload raises an error instead of giving an empty form."""

    _spool: Spool | None = None
    _at_close: Callable[[], None] | None = None

    def on_release(self, action: Callable[[], None]) -> None:
        """Set an action to run when the request ends, also after an error, or when `release` is called."""
        self._at_close = action

    def release(self) -> None:
        """Run the action of `on_release` now: it frees what other requests wait for."""
        if self._at_close is not None:
            self._at_close()
            self._at_close = None

    def check_encoding(self) -> None:
        """Raise UnsupportedMediaTypeError if the body is compressed."""
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise UnsupportedMediaTypeError(
                f"The body has the Content-Encoding {encoding[:40]!r}. Send it without: photos are compressed anyway."
            )

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002  werkzeug's signature
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        if self._spool is None:
            self._spool = Spool()
        return cast("IO[bytes]", SpooledPart(self._spool))

    def spooled_body(self) -> BinaryIO:
        """Write the whole body to the spool and return it as a file; raises SpoolFullError, RequestEntityTooLarge."""
        self._spool = Spool()
        body = SpooledPart(self._spool)
        shutil.copyfileobj(self.stream, body, _PIECE_BYTES)
        body.seek(0)
        return cast("BinaryIO", body)

    form_data_parser_class = MultipartParser

    def close(self) -> None:
        """Run the action of `on_release` and free the spool; called at the end of every request."""
        super().close()
        self.release()
        if self._spool is not None:
            self._spool.close()
