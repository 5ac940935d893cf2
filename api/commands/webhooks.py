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

app = typer.Typer(help="Manage webhooks, and try them out.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The id; see `shelfline webhooks list`.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The http or https URL that events are sent to.")],
    *,
    event: Annotated[
        list[Event] | None, typer.Option(help="An event to send; may be repeated. Default: job.finished.")
    ] = None,
    form: Annotated[WebhookFormat | None, typer.Option("--format", help="The format of the events.")] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="SHELFLINE_WEBHOOK_SECRET", help="The secret to sign with. Default: a new one.")
    ] = None,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """Register a webhook and show it. Its secret is shown only once."""
    if secret is not None:
        _checked(secret)
    with connect(url, key, var) as client:
        webhook = client.webhooks.create(address, events=event, form=form, secret=secret)
    typer.echo(webhook.model_dump_json(indent=2))


@app.command(name="list")
def listed(*, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """List the registered webhooks, oldest first."""
    table = Table("webhook", "state", "format", "events", "address", "last delivered", "failing since", box=None)
    with connect(url, key, var) as client:
        for hook in client.webhooks.all():
            state = hook.state if hook.reason is None else f"{hook.state}: {hook.reason}"
            times = (_second(hook.delivered_at), _second(hook.failing_since))
            table.add_row(hook.id, state, hook.format.value, " ".join(hook.events), hook.url, *times)
    stdout_console(160).print(table, markup=False, highlight=False)


@app.command(name="test")
def try_out(
    webhook: WebhookId,
    *,
    wait: Annotated[float, typer.Option(min=0, help="How many seconds to wait for the outcome.")] = 30.0,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """Send a webhook a test event. The exit status is 1 if it was not delivered."""
    with connect(url, key, var) as client:
        delivery = client.webhooks.test(webhook)
        typer.echo(f"{delivery} is on its way.", err=True)
        delivered, sentence = _outcome(client, webhook, delivery, wait)
    typer.echo(sentence)
    raise typer.Exit(0 if delivered else 1)


@app.command()
def delete(webhook: WebhookId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Delete a webhook. Events that wait for it are given up."""
    with connect(url, key, var) as client:
        client.webhooks.delete(webhook)


@app.command()
def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None,
        typer.Option(envvar="SHELFLINE_WEBHOOK_SECRET", help="The secret to verify with. Default: a new one."),
    ] = None,
) -> None:
    """Receive webhooks, print and verify them, until Ctrl-C. One with a wrong signature is answered with 401."""
    verifying = new_secret() if secret is None else _checked(secret)
    try:
        server = receiver(host, port, verifying)
    except OSError as error:
        raise UsageError(
            f"Nothing can listen on {host}:{port} ({error.strerror or error}): name another --host or --port."
        ) from error
    with server:
        typer.echo(f"Listening at http://{host}:{server.server_address[1]}/", err=True)
        if secret is None:
            typer.echo(f"The secret is {verifying}", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _checked(secret: str) -> str:
    try:
        return checked_secret(secret)
    except ValueError as error:
        raise UsageError(f"--secret is not a signing secret: {error}.") from error


def _outcome(client: ShelflineClient, webhook: str, delivery: str, seconds: float) -> tuple[bool, str]:
    """Wait for an attempt of a delivery; return whether it succeeded, and a sentence about it."""
    give_up = time.monotonic() + seconds
    while True:
        for attempt in client.webhooks.get(webhook).attempts:
            if attempt.delivery == delivery:
                delivered = f"Delivered in {attempt.seconds:.2f} s; the answer was {attempt.status}."
                return attempt.error is None, attempt.error or delivered
        if time.monotonic() >= give_up:
            return False, f"It was not attempted within {seconds:g} s: look at GET /v1/webhooks/{webhook} later."
        time.sleep(_POLL_SECONDS)


def _second(at: str | None) -> str:
    return "-" if at is None else at.partition(".")[0] + "Z"
