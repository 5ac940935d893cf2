"""How a request arrives: read piece by piece without a thread, until a thread can go on without waiting for it.

Nothing is parsed here. A request that looks malformed is left to gunicorn's parser, which says what is wrong with it.
"""

from __future__ import annotations

import re

from api.http.errors import HeadersTooLargeError

MAX_HEAD_BYTES = 65_536  # of all headers together; gunicorn limits each to 8190
SMALL_BODY_BYTES = 65_536  # a body is read without a thread up to here
MIN_BYTES_PER_SECOND = 1000
_MAX_LINE_BYTES = 4096  # of a request line; gunicorn refuses a longer one
# `++` and `*+` give nothing back: a pattern that tries again would keep all connections waiting, for minutes or days.
_REQUEST_LINE = re.compile(rb"(?P<method>[A-Z]{3,20}) (?P<path>[^ ?#]++)[^ ]*+ HTTP/1\.(?P<minor>[01])")
_HEADERS = {
    name: re.compile(rb"\r\n%b:([^\r]*+)(?=\r\n)" % name.replace(b"-", rb"\-"), re.IGNORECASE)
    for name in (b"authorization", b"content-length", b"expect", b"transfer-encoding")
}
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_TRAILERS = re.compile(rb"(?:[^\r\n]+\r\n)*\r\n")


class Arrival:
    """The bytes of a request that have come so far. Times are monotonic, in seconds.

    A head must come within `seconds`. A body may pause for `seconds` in all, and for one second more for each 1000
    bytes that it has sent, but never for longer than `seconds` at once. A body that says it has more than
    `max_body_bytes` is not waited for, since it will be refused.
    """

    def __init__(self, now: float, seconds: float, max_body_bytes: int) -> None:
        self.data = bytearray()
        self.is_ready = False  # a thread can take the request over
        self.is_whole = False  # nothing of it is missing
        self.wants_continue = False  # the client waits for a `100 Continue`
        self.path = b""
        self.key = b""  # the value of the header Authorization
        self.began_at, self.deadline = now, now + seconds
        self._seconds, self._max_body_bytes = seconds, max_body_bytes
        self._head_end = -1
        self._needed: int | None = None  # bytes of the body; None if it is chunked
        self._next_chunk = 0

    @property
    def has_head(self) -> bool:
        """Return whether the whole head has come."""
        return self._head_end >= 0

    @property
    def missing(self) -> int:
        """Return how many bytes of the body have not arrived, or 0 if that is not known."""
        return max(0, self._head_end + self._needed - len(self.data)) if self._needed else 0

    def add(self, piece: bytes, now: float) -> None:
        """Add what has come. Raises HeadersTooLargeError."""
        searched = max(0, len(self.data) - 3)
        self.data += piece
        if self._head_end < 0:
            self._read_head(searched, now)
        else:
            self.deadline = min(self.deadline + len(piece) / MIN_BYTES_PER_SECOND, now + self._seconds)
        if self._head_end >= 0 and not self.is_ready:
            self._read_body()

    def _read_head(self, searched: int, now: float) -> None:
        start = 2 if self.data.startswith(b"\r\n") else 0  # RFC 9112, 2.2: one empty line may come first
        end = self.data.find(b"\r\n\r\n", max(start, searched))
        head = self.data if end < 0 else self.data[: end + 2]
        line = _REQUEST_LINE.fullmatch(head, start, max(start, head.find(b"\r\n", start)))
        if line is None:
            self.is_ready = b"\n" in head[start:] or len(head) > _MAX_LINE_BYTES
        elif head.count(b"\n") != head.count(b"\r\n"):
            self.is_ready = True
        elif end < 0:
            if len(head) > MAX_HEAD_BYTES:
                raise HeadersTooLargeError(f"The headers of a request may have {MAX_HEAD_BYTES} bytes in all.")
        else:
            self._head_end = end + 4
            self.deadline = now + self._seconds
            self._read_fields(head, line)

    def _read_fields(self, head: bytearray, line: re.Match[bytes]) -> None:
        self.path = bytes(line["path"])
        values = {name: [text.strip(b" \t") for text in header.findall(head)] for name, header in _HEADERS.items()}
        self.key = b"".join(values[b"authorization"][:1])
        lengths, codings = values[b"content-length"], values[b"transfer-encoding"]
        self._needed = 0
        if codings or lengths:
            simple = len(codings) + len(lengths) == 1
            if simple and lengths and re.fullmatch(rb"[0-9]{1,20}", lengths[0]):
                self._needed = int(lengths[0])
                self.is_ready = self._needed > self._max_body_bytes
            elif simple and codings and codings[0].lower() == b"chunked":
                self._needed, self._next_chunk = None, self._head_end
            else:
                self.is_ready = True
        expected = [value.lower() for value in values[b"expect"]]
        self.wants_continue = self._needed != 0 and line["minor"] == b"1" and expected == [b"100-continue"]

    def _read_body(self) -> None:
        length = len(self.data) - self._head_end
        self.is_whole = length >= self._needed if self._needed is not None else self._has_all_chunks()
        self.is_ready = self.is_ready or self.is_whole or length >= SMALL_BODY_BYTES

    def _has_all_chunks(self) -> bool:
        """Return whether the last chunk has come; a chunk that is malformed makes the request ready."""
        while chunk := _CHUNK.match(self.data, self._next_chunk):
            if (size := int(chunk[1], 16)) == 0:
                return _TRAILERS.match(self.data, chunk.end()) is not None
            end = chunk.end() + size
            if end + 2 > len(self.data):
                return False
            if self.data[end : end + 2] != b"\r\n":
                self.is_ready = True
                return False
            self._next_chunk = end + 2
        line = self.data[self._next_chunk :]
        self.is_ready = b"\r\n" in line or len(line) > _MAX_LINE_BYTES
        return False
