"""A multipart body of any number of files, written while it is sent: one file is open at a time (RFC 7578)."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import quote

from workers.io.folders import printable


def open_photo(path: str | os.PathLike[str]) -> BinaryIO:
    """A photo opened for reading; raises OSError, also for what is no plain file (a pipe would never end)."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115, PTH123  a descriptor
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", os.fspath(path))
    return file


_PIECE_BYTES = 1 << 18


class MultipartUpload:
    """Files, (name, path) each, and form fields, as the body of a request. It can be iterated over again.

    `unreadable`, where given, is told the number of each file that cannot be read, whose part ends there, and why.
    """

    def __init__(
        self,
        files: Iterable[tuple[str, str | os.PathLike[str]]],
        fields: Mapping[str, str],
        *,
        field: str = "images",
        unreadable: Callable[[int, OSError], None] | None = None,
    ) -> None:
        self._files = list(files)
        self._fields = dict(fields)
        self._field = field
        self._unreadable = unreadable
        self._boundary = secrets.token_hex(24)

    @property
    def content_type(self) -> str:
        """The body's content type, with its boundary."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces; raises OSError where a file cannot be read and nobody is told of it."""
        for name, value in self._fields.items():
            yield self._head(f'name="{name}"') + b"\r\n" + value.encode() + b"\r\n"
        for number, (name, path) in enumerate(self._files):
            # `filename*` carries any name exactly; quoting in `filename` differs between servers.
            yield self._head(f'name="{self._field}"; filename="file"; filename*=UTF-8\'\'{_quoted(name)}')
            yield b"Content-Type: application/octet-stream\r\n\r\n"
            try:
                with open_photo(path) as file:
                    while piece := file.read(_PIECE_BYTES):
                        yield piece
            except OSError as error:
                if self._unreadable is None:
                    raise
                self._unreadable(number, error)
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()

    def _head(self, disposition: str) -> bytes:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n".encode()


def _quoted(name: str) -> str:
    return quote(printable(name), safe="")
