"""`shelfline keys`: create, list and revoke API keys, directly in the Redis of the server."""

from __future__ import annotations

import re
import time
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

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is called in lists: who uses it.")],
    *,
    owner: Annotated[
        str | None, typer.Option(help="On whose account it works; keys of one owner share jobs. Its name, if left out.")
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="submit, read, metrics or admin; may be repeated. submit and read, if left out."),
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Most requests, as in 10/second;1000/minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Most requests under way in an API process.")] = None,
    max_waiting_images: Annotated[int | None, typer.Option(min=1, help="Most images of its owner that wait.")] = None,
    max_blob_bytes: Annotated[int | None, typer.Option(min=1, help="Most stored bytes of its owner's uploads.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="TERM", help="When it ends, as in 90d, 12h or 30m.")] = None,
    var: Var = Path("var"),
) -> None:
    """Make a key and write it to stdout, once: only its hash is kept."""
    try:
        terms = KeyTerms(
            name=name,
            owner=name if owner is None else owner,
            scopes=tuple(dict.fromkeys(scope or (Scope.SUBMIT, Scope.READ))),
            expires_at=_end(expires),
            rate=rate,
            concurrency=concurrency,
            max_waiting_images=max_waiting_images,
            max_blob_bytes=max_blob_bytes,
        )
    except ValidationError as error:
        wrong = [f"{one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        raise UsageError("; ".join(dict.fromkeys(wrong)) + ".") from error
    with _keys(var) as keys:
        secret, key = keys.create(terms)
    typer.echo(secret)
    typer.echo(f"This is {key.id}, of {key.owner}. It is shown this once: keep it as a password.", err=True)


@app.command(name="list")
def listed(*, var: Var = Path("var")) -> None:
    """List the keys, the oldest first; never the keys themselves."""
    with _keys(var) as keys:
        found = keys.all()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "name", "owner", "scopes", "state", "limits", "created", "last used", "expires"):
        table.add_column(column, overflow="fold")
    for key in found:
        table.add_row(
            *(key.id, key.name, key.owner, " ".join(key.scopes), key.state, _limits(key) or "-"),
            *(_day(at) for at in (key.created_at, key.last_used_at, key.expires_at)),
        )
    stdout_console(200).print(table, markup=False, highlight=False)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY_ID", help="As in key_0123456789ab; see `shelfline keys list`.")],
    *,
    var: Var = Path("var"),
) -> None:
    """Take a key back for ever; within a few seconds nobody gets in with it. Its jobs stay."""
    with _keys(var) as keys:
        gone = keys.revoke(id_of(key) if key.startswith("sl_") else key)
    typer.echo(f"{gone.id} ({gone.name}) is revoked.")


@contextmanager
def _keys(var: Path) -> Iterator[KeyStore]:
    """Yield the key store in Redis: that of REDIS_URL, else that of the stack that runs on this machine.

    Raises UsageError if there is neither.
    """
    settings = load_settings()
    url: str | None = settings.redis_url
    if "redis_url" not in settings.model_fields_set:
        record = StackState(var).running_record()
        url = record.redis_url if record and not record.log else None  # a stack with a log is temporary
    if url is None:
        raise UsageError("No stack is running here: start one with `shelfline up`, or say where Redis is in REDIS_URL.")
    link = RedisLink(url)
    try:
        yield KeyStore(link)
    finally:
        link.close()


def _end(term: str | None) -> float | None:
    if term is None:
        return None
    found = _TERM.fullmatch(term)
    if not found:
        raise UsageError(f"--expires {term!r} is no term: write it as in 90d, 12h or 30m.")
    return time.time() + int(found[1]) * _SECONDS[found[2]]


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
