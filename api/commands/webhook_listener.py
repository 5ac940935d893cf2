"""A receiver for trying out webhooks: it prints each request, and whether its signature is valid."""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import typer
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

_MAX_BYTES = 2_000_000


def receiver(host: str, port: int, secret: str) -> ThreadingHTTPServer:
    """Return a server that verifies signatures with a secret; raises OSError if it cannot listen at the address."""
    verifier = Verifier(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > _MAX_BYTES:
                self.send_error(HTTPStatus.LENGTH_REQUIRED)
                return
            verdict, body = _read(verifier, self.rfile.read(int(length)), dict(self.headers))
            message = self.headers.get("webhook-id", "no webhook-id")
            typer.echo(f"{datetime.now():%H:%M:%S} {message} {verdict}\n{body}")  # noqa: DTZ005  the reader's own time
            self.send_response(HTTPStatus.OK if verdict == "verified" else HTTPStatus.UNAUTHORIZED)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing, since `do_POST` prints each request itself."""

    return ThreadingHTTPServer((host, port), Handler)


def _read(verifier: Verifier, body: bytes, headers: dict[str, str]) -> tuple[str, str]:
    """Return the verdict on a request ("verified", else the reason) and its body, indented if it is JSON."""
    try:
        verifier.verify(body, headers, json_parse=False)
        verdict = "verified"
    except (WebhookVerificationError, ValueError) as error:  # ValueError: no valid base64 or UTF-8
        verdict = f"NOT VERIFIED: {error}"
    try:
        return verdict, json.dumps(json.loads(body), indent=2, ensure_ascii=True)
    except (ValueError, RecursionError):
        return verdict, ascii(body[:2000])
