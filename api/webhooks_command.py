"""`shelfline webhooks listen`: a receiver to try webhooks out with."""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import typer
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from api.errors import UsageError
from workers.webhooks.hooks import checked_secret, new_secret

_MOST_BYTES = 2_000_000

app = typer.Typer(help="Try webhooks out.", no_args_is_help=True)


@app.callback()
def _webhooks() -> None:
    """Try webhooks out."""


@app.command()
def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 for a free port.")] = 9000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None, typer.Option(envvar="SHELFLINE_WEBHOOK_SECRET", help="What to verify with; a new one if left out.")
    ] = None,
) -> None:
    """Print and verify the webhooks that arrive, until Ctrl-C. What is not signed right is answered with 401."""
    try:
        known = new_secret() if secret is None else checked_secret(secret)
    except ValueError as error:
        raise UsageError(f"--secret is none: {error}.") from error
    try:
        server = ThreadingHTTPServer((host, port), _handler(Verifier(known)))
    except OSError as error:
        raise UsageError(f"Nothing can listen on {host}:{port}: {error.strerror or error}.") from error
    with server:
        typer.echo(f"Listening at http://{host}:{server.server_address[1]}/", err=True)
        if secret is None:
            typer.echo(f"The secret is {known}", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _handler(verifier: Verifier) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > _MOST_BYTES:
                self.send_error(HTTPStatus.LENGTH_REQUIRED)
                return
            verdict, found = _read(verifier, self.rfile.read(int(length)), dict(self.headers))
            message = self.headers.get("webhook-id", "no webhook-id")
            typer.echo(f"{datetime.now():%H:%M:%S} {message} {verdict}\n{found}")  # noqa: DTZ005  the reader's own time
            self.send_response(HTTPStatus.OK if verdict == "verified" else HTTPStatus.UNAUTHORIZED)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing beside what came."""

    return Handler


def _read(verifier: Verifier, body: bytes, headers: dict[str, str]) -> tuple[str, str]:
    """Whether a request is signed right, or why not; and its body, laid out where it is JSON."""
    try:
        verifier.verify(body, headers, json_parse=False)
        verdict = "verified"
    except (WebhookVerificationError, ValueError) as error:  # ValueError: what is no base64, no UTF-8
        verdict = f"NOT VERIFIED: {error}"
    try:
        return verdict, json.dumps(json.loads(body), indent=2, ensure_ascii=True)
    except (ValueError, RecursionError):
        return verdict, ascii(body[:2000])
