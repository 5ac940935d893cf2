"""A DNS server on the loopback interface that knows one name, for what is said of several servers behind a name."""

from __future__ import annotations

import ipaddress
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ADDRESS = 1  # the record type A
_HEADER = struct.Struct("!6H")


@contextmanager
def name_server(addresses: list[str]) -> Iterator[str]:
    """Answer any question for IPv4 addresses with the list, which may be changed meanwhile; yields host:port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, socket = self.request
            socket.sendto(_answer(data, addresses), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield "{}:{}".format(*server.server_address)
        server.shutdown()


def _answer(question: bytes, addresses: list[str]) -> bytes:
    """RFC 1035, section 4: the question again, and an answer for each address."""
    number = _HEADER.unpack_from(question)[0]
    end = question.index(0, _HEADER.size) + 1 + 4  # the name, its type and class
    record_type = struct.unpack_from("!H", question, end - 4)[0]
    answers = addresses if record_type == _ADDRESS else []
    records = [
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, _ADDRESS, 1, 0, 4) + ipaddress.IPv4Address(address).packed
        for address in answers
    ]
    return _HEADER.pack(number, 0x8180, 1, len(records), 0, 0) + question[_HEADER.size : end] + b"".join(records)
