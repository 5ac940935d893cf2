"""`shelfline keys`: create, list and revoke API keys, directly in the Redis of the server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError
from rich.table import Table

from api.commands.errors import UsageError
from api.commands.options import Var, stdout_console
from api.commands.stack.state import StackState
from workers.io.redis_link import RedisLink
from workers.settings import load_settings
from workers.store.api_keys import ApiKey, KeyStore, KeyTerms, Scope, id_of

_TERM = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400}

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name of the key in lists: who uses it.")],
    *,
    owner: Annotated[
        str | None, typer.Option(help="The owner of its jobs; keys of one owner share jobs. Default: NAME.")
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may do; may be repeated. Default: submit and read."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="How many requests it may send, such as 10/second;1000/minute.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="How many of its requests an API process may serve at once.")
    ] = None,
    max_waiting_images: Annotated[
        int | None, typer.Option(min=1, help="How many images of its owner may wait.")
    ] = None,
    max_blob_bytes: Annotated[
        int | None, typer.Option(min=1, help="How many bytes of its owner's uploads may be stored.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TERM", help="When the key expires, such as 90d, 12h or 30m from now.")
    ] = None,
    var: Var = Path("var"),
) -> None:
    """Create a key and write it to stdout. It is shown only once, because only its hash is stored."""
    term = _seconds(expires)
    try:
        terms = KeyTerms(
            name=name,
            owner=name if owner is None else owner,
            scopes=tuple(dict.fromkeys(scope or (Scope.SUBMIT, Scope.READ))),
            rate=rate,
            concurrency=concurrency,
            max_waiting_images=max_waiting_images,
            max_blob_bytes=max_blob_bytes,
        )
    except ValidationError as error:
        wrong = [f"{entry['loc'][0]}: {entry['msg'].removeprefix('Value error, ')}" for entry in error.errors()]
        raise UsageError("; ".join(dict.fromkeys(wrong)) + ".") from error
    with _key_store(var) as store:
        end = None if term is None else store.now() + term
        secret, key = store.create(terms.model_copy(update={"expires_at": end}))
    typer.echo(secret)
    typer.echo(f"This is {key.id} of {key.owner}. Keep it like a password: it is not shown again.", err=True)


@app.command(name="list")
def listed(*, var: Var = Path("var")) -> None:
    """List the keys, oldest first, without their secrets."""
    with _key_store(var) as store:
        keys, now = store.all(), store.now()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "name", "owner", "scopes", "state", "limits", "created", "last used", "expires"):
        table.add_column(column, overflow="fold")
    for key in keys:
        table.add_row(
            *(key.id, key.name, key.owner, " ".join(key.scopes), key.state(now), _limits(key) or "-"),
            *(_day(at) for at in (key.created_at, key.last_used_at, key.expires_at)),
        )
    stdout_console(200).print(table, markup=False, highlight=False)


@app.command()
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY_ID", help="The id, such as key_0123456789ab; see `shelfline keys list`.")
    ],
    *,
    var: Var = Path("var"),
) -> None:
    """Revoke a key for ever. The API refuses it within a few seconds; its jobs stay."""
    with _key_store(var) as store:
        revoked = store.revoke(id_of(key) if key.startswith("sl_") else key)
    typer.echo(f"{revoked.id} ({revoked.name}) is revoked.")


@contextmanager
def _key_store(var: Path) -> Iterator[KeyStore]:
    """Yield the key store in Redis: that of REDIS_URL, else that of the stack that runs on this machine.

    Raises UsageError if there is neither.
    """
    settings = load_settings()
    url: str | None = settings.redis_url
    if "redis_url" not in settings.model_fields_set:
        record = StackState(var).running_record()
        url = record.parts.get("redis_url") if record and not record.log else None  # a stack with a log is temporary
    if url is None:
        raise UsageError("No stack is running here: start one with `shelfline up`, or set REDIS_URL.")
    link = RedisLink(url)
    try:
        yield KeyStore(link)
    finally:
        link.close()


def _seconds(term: str | None) -> int | None:
    if term is None:
        return None
    match = _TERM.fullmatch(term)
    if not match:
        raise UsageError(f"--expires {term!r} is not a time: write it as 90d, 12h or 30m.")
    return int(match[1]) * _SECONDS[match[2]]


def _limits(key: ApiKey) -> str:
    limits = {
        "rate": key.rate,
        "concurrency": key.concurrency,
        "images": key.max_waiting_images,
        "bytes": key.max_blob_bytes,
    }
    return " ".join(f"{name}={limit}" for name, limit in limits.items() if limit is not None)


def _day(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
