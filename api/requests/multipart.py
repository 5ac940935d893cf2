"""Parse multipart bodies as werkzeug does, but take file names in any encoding, and `filename*` before `filename`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO, Any

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from api.http.errors import InvalidRequestError, RequestTooLargeError
from workers.errors import TooManyImagesError

IMAGE_FIELDS = ("images", "images[]", "image", "file", "files")
FILE_FIELDS = frozenset(("archive", "manifest"))  # form fields that take one file each

_PIECE_BYTES = 1 << 16
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_SECOND_BYTE = re.compile(rb"([\x80-\xff])\\(?!\\)")
_BACKSLASH = re.compile(rb'\\([\\"])?')
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")
_EXTENDED_NAME = re.compile(r";\s*filename\*=[^;]*", re.IGNORECASE)

_Write = Callable[[bytes], Any]
_Finish = Callable[[], None]


class MultipartParser(FormDataParser):
    """A parser that raises ValueError for a broken body, and InvalidRequestError for a file without a file name.

    It raises RequestTooLargeError for a field that is too long, and TooManyImagesError for too many parts.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,  # noqa: ARG002  werkzeug's signature; no other type is read as a form
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        """Return the stream, the fields and the files."""
        boundary = (options or {}).get("boundary", "").encode("ascii")
        if not boundary:
            raise ValueError("Missing boundary")
        decoder = _Decoder(boundary, self.max_form_memory_size)
        parts = 0
        form: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        write: _Write = _refuse
        finish: _Finish = lambda: None  # noqa: E731  what is to be done at the end of a part
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, NeedData):
                decoder.receive_data(stream.read(_PIECE_BYTES) or None)
            elif isinstance(event, Field | File):
                parts += 1
                if self.max_form_parts is not None and parts > self.max_form_parts:
                    raise TooManyImagesError(
                        f"The request has more than {self.max_form_parts} files and fields. Send several jobs."
                    )
                if isinstance(event, Field):
                    write, finish = self._start_field(event, form)
                else:
                    write, finish = self._start_file(event, content_length, files)
            elif isinstance(event, Data):
                write(event.data)
                if not event.more_data:
                    finish()
        return stream, self.cls(form), self.cls(files)

    def _start_field(self, event: Field, form: list[tuple[str, str]]) -> tuple[_Write, _Finish]:
        """Return how to write the value of a field, and how to add it to the form."""
        if event.name in IMAGE_FIELDS or event.name in FILE_FIELDS:
            raise InvalidRequestError(f"A part {event.name!r} has no file name. Give it one, or it is not a file.")
        value = bytearray()

        def write(data: bytes) -> None:
            value.extend(data)
            if self.max_form_memory_size is not None and len(value) > self.max_form_memory_size:
                raise RequestTooLargeError(
                    f"The field {event.name[:100]!r} has more than {self.max_form_memory_size} bytes. Shorten it."
                )

        def finish() -> None:
            try:
                form.append((event.name, value.decode()))
            except UnicodeDecodeError as error:
                raise InvalidRequestError(f"The field {event.name!r} is not UTF-8. Send its text in UTF-8.") from error

        return write, finish

    def _start_file(
        self, event: File, content_length: int | None, files: list[tuple[str, FileStorage]]
    ) -> tuple[_Write, _Finish]:
        """Return how to write the bytes of a file, and how to add it to the files."""
        stream = self.stream_factory(content_length, event.headers.get("content-type"), event.filename, None)

        def finish() -> None:
            stream.seek(0)
            files.append((event.name, FileStorage(stream, event.filename, event.name, headers=event.headers)))

        return stream.write, finish


class _Decoder(MultipartDecoder):
    """Decodes headers whose bytes are not UTF-8 with these escaped, as in names of folders, and prefers `filename*`."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        headers = super()._parse_headers(_in_rfc_form(bytes(data)))
        disposition = headers.get("content-disposition", "")
        extended = _EXTENDED_NAME.search(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), disposition))
        if extended:  # of two parameters the last one counts
            headers["content-disposition"] = f"{disposition}{disposition[extended.start() : extended.end()]}"
        return headers


def _in_rfc_form(headers: bytes) -> bytes:
    """Return headers in UTF-8, with bytes that are not UTF-8 escaped as in folders, and with backslashes doubled.

    Browsers and most libraries send a backslash as it is, and only curl escapes it. So it is an escape only before a
    quotation mark or another backslash.
    """
    in_utf8 = _is_utf8(headers)
    if not in_utf8:  # in GBK, Shift-JIS and Big5 a backslash can be the second byte of a character
        headers = _SECOND_BYTE.sub(rb"\1\\\\", headers)
    headers = _BACKSLASH.sub(lambda match: match[0] if match[1] else rb"\\", headers)
    if in_utf8:
        return headers
    text = headers.decode("utf-8", "surrogateescape")
    return _NOT_UTF8.sub(lambda byte: f"\\\\udc{ord(byte[0]) & 0xFF:02x}", text).encode()


def _is_utf8(headers: bytes) -> bool:
    try:
        headers.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse(data: bytes) -> None:
    raise ValueError(f"{len(data)} bytes belong to no part")
