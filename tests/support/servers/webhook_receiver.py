"""A receiver of webhooks that misbehaves as the path says, as a process.

Run it by `python -m tests.support.servers.webhook_receiver LOG`.

It writes its port as the first line of LOG, then a line for each request: path, headers, body, time. `/ok` takes
everything, `/status/N` answers N, `/flaky/N` fails the first N times that it sees an id, `/slow/S` answers after S
seconds, `/body/TEXT` answers 200 with the text; `/hang`, `/drip`, `/huge`, `/bomb` and `/redirect` are what they are
called.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

HANG_SECONDS = 60
BOMB = gzip.compress(bytes(100_000_000), 6)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[Counter[str]] = Counter()
    log: Callable[[str], None]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        type(self).log(json.dumps({"path": self.path, "headers": headers, "body": body, "at": time.time()}))
        kind, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        with suppress(OSError):
            self._answer(kind, unquote(argument), headers.get("webhook-id", ""))

    def _answer(self, kind: str, argument: str, message: str) -> None:
        if kind in _ODD:
            _ODD[kind](self)
        elif kind == "flaky":
            self.seen[message] += 1
            self.send(503 if self.seen[message] <= int(argument.partition("/")[0]) else 200, b"")
        elif kind == "status":
            self.send(int(argument.partition("/")[0]), b"as you wish")
        else:
            if kind == "slow":
                time.sleep(float(argument.partition("/")[0]))
            self.send(200, argument.partition("/")[0].encode() if kind == "body" else b"thanks")

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Send an answer; `headers` may claim another length than it has."""
        self.send_response(status)
        for name, value in ({"content_length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


def _hang(_answer: _Handler) -> None:
    time.sleep(HANG_SECONDS)


def _drip(answer: _Handler) -> None:
    answer.send(200, b"", content_length="1000000")
    for _ in range(10 * HANG_SECONDS):
        answer.wfile.write(b".")
        time.sleep(0.1)


def _huge(answer: _Handler) -> None:
    answer.send(200, b"", content_length="2000000000")
    for _ in range(2000):
        answer.wfile.write(bytes(1_000_000))


def _bomb(answer: _Handler) -> None:
    answer.send(200, BOMB, content_encoding="gzip")


def _redirect(answer: _Handler) -> None:
    answer.send(302, b"", location="/ok/redirected")


_ODD = {"hang": _hang, "drip": _drip, "huge": _huge, "bomb": _bomb, "redirect": _redirect}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that goes away is what some tests are about."""


def main(path: Path) -> None:
    """Serve until the process is killed."""
    lock = threading.Lock()
    with path.open("a", buffering=1) as log:

        def write(line: str) -> None:
            with lock:
                log.write(line + "\n")

        _Handler.log = staticmethod(write)
        server = _Server(("127.0.0.1", 0), _Handler)
        write(str(server.server_address[1]))
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
