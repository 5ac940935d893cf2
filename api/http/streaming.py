"""Stream long responses in large chunks, compressed if the caller accepts gzip.

If a response fails halfway, the connection is broken off, so that the caller does not take a part for the whole.
"""

from __future__ import annotations

import itertools
import socket
import struct
import zlib
from collections.abc import Iterable, Iterator

import structlog
from flask import Response, request

_PIECE_CHARS = 65_536
_LEVEL = 3  # of gzip
_GZIP = 31  # this value of zlib's `wbits` writes gzip's header and trailer
_RESET = struct.pack("ii", 1, 0)

log = structlog.get_logger(__name__)


def streamed(texts: Iterator[str], media_type: str) -> Response:
    """Return a response that streams texts as UTF-8.

    An error before the first piece is raised here, so that it can still be answered with a problem.
    """
    pieces: Iterator[bytes] = _pieces(texts)
    if compress := request.accept_encodings.quality("gzip") > 0 and "gzip" in request.accept_encodings.values():
        pieces = _compressed(pieces)
    first = list(itertools.islice(pieces, 1))
    response = Response(_broken_off(itertools.chain(first, pieces)), content_type=media_type)
    if media_type.startswith("text/"):
        response.content_type = f"{media_type}; charset=utf-8"
    if compress:
        response.headers["Content-Encoding"] = "gzip"
    return response


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """Join texts into pieces of about 64 kB, because one HTTP chunk per text would cost more than the text."""
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _PIECE_CHARS:
            yield "".join(piece).encode()
            piece, size = [], 0
    if piece:
        yield "".join(piece).encode()


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        if ready := compressor.compress(piece):
            yield ready
    yield compressor.flush()


def _broken_off(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces; if they fail, break the connection, so that the caller sees that the body is incomplete.

    In HTTP/1.1 the web server omits the last chunk. In HTTP/1.0, which older proxies speak, a body ends when the
    connection closes, so only a reset shows the failure.
    """
    older = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
    connection: socket.socket | None = request.environ.get("gunicorn.socket") if older else None
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return _watched(pieces, connection, request_id)


def _watched(pieces: Iterator[bytes], connection: socket.socket | None, request_id: object) -> Iterator[bytes]:
    try:
        yield from pieces
    except Exception as error:
        log.warning("answer broken off", request_id=request_id, error=str(error))
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.close()
        raise
