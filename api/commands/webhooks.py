"""`shelfline webhooks`: manage the endpoints that get the events of all jobs, and receive webhooks to try them out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.client.client import ShelflineClient
from api.commands.errors import UsageError
from api.commands.options import Key, Url, Var, connect, stdout_console
from api.commands.webhook_listener import receiver
from workers.jobs.webhook import Event, WebhookFormat, checked_secret, new_secret

_POLL_SECONDS = 0.2

app = typer.Typer(help="Look after webhooks, and try them out.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The id, see `shelfline webhooks list`.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="An http(s) URL that is POSTed to.")],
    *,
    event: Annotated[
        list[Event] | None, typer.Option(help="What it is told; may be repeated. job.finished, if left out.")
    ] = None,
    form: Annotated[WebhookFormat | None, typer.Option("--format", help="How it is told.")] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="SHELFLINE_WEBHOOK_SECRET", help="What to sign with; a new one if left out.")
    ] = None,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """Register a webhook and show it, with its secret, this once."""
    if secret is not None:
        _checked(secret)
    with connect(url, key, var) as client:
        made = client.webhooks.create(address, events=event, form=form, secret=secret)
    typer.echo(made.model_dump_json(indent=2))


@app.command(name="list")
def listed(*, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """List the registered webhooks, the oldest first."""
    table = Table("webhook", "state", "format", "events", "address", "last delivered", "failing since", box=None)
    with connect(url, key, var) as client:
        for one in client.webhooks.all():
            state = one.state if one.reason is None else f"{one.state}: {one.reason}"
            times = (_second(one.delivered_at), _second(one.failing_since))
            table.add_row(one.id, state, one.format.value, " ".join(one.events), one.url, *times)
    stdout_console(160).print(table, markup=False, highlight=False)


@app.command(name="test")
def try_out(
    webhook: WebhookId,
    *,
    wait: Annotated[float, typer.Option(min=0, help="Wait so many seconds for what comes of it.")] = 30.0,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """Send a webhook an event that tells of nothing; exit status 1 if it was not delivered."""
    with connect(url, key, var) as client:
        delivery = client.webhooks.test(webhook)
        typer.echo(f"{delivery} is on its way.", err=True)
        delivered, said = _outcome(client, webhook, delivery, wait)
    typer.echo(said)
    raise typer.Exit(0 if delivered else 1)


@app.command()
def delete(webhook: WebhookId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Delete a webhook; what waits for it is given up."""
    with connect(url, key, var) as client:
        client.webhooks.delete(webhook)


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
    known = new_secret() if secret is None else _checked(secret)
    try:
        server = receiver(host, port, known)
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


def _checked(secret: str) -> str:
    try:
        return checked_secret(secret)
    except ValueError as error:
        raise UsageError(f"--secret is none: {error}.") from error


def _outcome(client: ShelflineClient, webhook: str, delivery: str, seconds: float) -> tuple[bool, str]:
    """Wait for an attempt of a delivery; return whether it succeeded, and a sentence about it."""
    gives_up = time.monotonic() + seconds
    while True:
        for one in client.webhooks.get(webhook).attempts:
            if one.delivery == delivery:
                return one.error is None, one.error or f"Delivered in {one.seconds:.2f} s; it answered {one.status}."
        if time.monotonic() >= gives_up:
            return False, f"Nothing came of it in {seconds:g} s: look at GET /v1/webhooks/{webhook} later."
        time.sleep(_POLL_SECONDS)


def _second(at: str | None) -> str:
    return "-" if at is None else at.partition(".")[0] + "Z"
