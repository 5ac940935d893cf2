"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.client.client import ShelflineClient
from api.commands.errors import UsageError
from api.commands.stack.state import StackState
from workers.settings import load_settings

_PATIENCE_SECONDS = 5.0  # for commands that send only one request or few

Url = Annotated[
    str | None, typer.Option(envvar="SHELFLINE_URL", help="The URL of a running API, such as http://127.0.0.1:5000.")
]

Var = Annotated[
    Path, typer.Option(envvar="SHELFLINE_VAR", help="The folder in which the stack of this machine keeps its state.")
]

Key = Annotated[str | None, typer.Option(help="The API key; by default SHELFLINE_API_KEY.")]


def connect(url: str | None, key: str | None, var: Path, *, patience: float = _PATIENCE_SECONDS) -> ShelflineClient:
    """Return a client of the API at `url`, by default of the stack on this machine.

    `patience` is for how many seconds a failed request is tried again. Raises UsageError if no stack is running.
    """
    if not url:
        record = StackState(var).running_record()
        if record is None:
            raise UsageError("No stack is running here: start one with `shelfline up`, or name another with --url.")
        url = record.url
    return ShelflineClient(url, key=key or load_settings().own_key, patience=patience)


def stdout_console(file_columns: int) -> Console:
    """Return the console for tables on stdout; a file gets lines of `file_columns` columns."""
    console = Console()
    return console if console.is_terminal else Console(width=file_columns)
