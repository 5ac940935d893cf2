"""A multipart body (RFC 7578) of any number of files, generated while it is sent; one file is open at a time."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import quote

from workers.io.names import printable

_PIECE_BYTES = 1 << 18


def open_photo(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a photo for reading; raises OSError, also if it is not a regular file (a pipe would never end)."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115, PTH123  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return file


class MultipartUpload:
    """Files, each as (name, path), and form fields as the body of a request. It can be iterated more than once.

    If a file cannot be read, its part ends after the bytes that were read, and `unreadable`, if given, is called with
    the number of the file and the error.
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
        """The content type of the body, with the boundary."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces; raises OSError if a file cannot be read and `unreadable` is not given."""
        for name, value in self._fields.items():
            yield self._head(f'name="{name}"') + b"\r\n" + value.encode() + b"\r\n"
        for number, (name, path) in enumerate(self._files):
            # `filename*` carries any name exactly, while servers read quotes in `filename` differently.
            yield self._head(
                f'name="{self._field}"; filename="file"; filename*=UTF-8\'\'{quote(printable(name), safe="")}'
            )
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
