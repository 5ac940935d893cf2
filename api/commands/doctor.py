"""`shelfline doctor`: check everything that Shelfline needs, and say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.commands.options import Var
from api.commands.stack.state import StackState
from serving.errors import ShelflineError
from workers.doctor import Finding, examine
from workers.io.public_addresses import is_loopback
from workers.settings import Settings, load_settings, unknown_variables
from workers.store.api_keys import keys_exist

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}
_SOMETHING_WRONG = 1


BatchingFile = Annotated[
    Path | None,
    typer.Option(help="The model server's --batching_parameters_file: compare it with the models and the settings."),
]


def doctor(*, var: Var = Path("var"), batching_file: BatchingFile = None) -> None:
    """Check versions, Redis, blob store, disks, models, clocks and keys, and say what to do.

    The exit status is 1 if something is wrong, 2 if a setting is invalid, and 0 if there are only warnings.
    """
    settings = _settings(var)
    wrong = 0
    for finding in (*_variables(), *examine(settings, batching_file), _keys(settings)):
        advice = f" -> {finding.advice}" if finding.advice else ""
        typer.echo(f"{_MARKS[finding.level]}  {finding.what}: {' '.join(finding.result.split()).rstrip('.')}{advice}")
        wrong += finding.level == "error"
    if wrong:
        typer.echo(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", err=True)
        raise typer.Exit(_SOMETHING_WRONG)


def _settings(var: Path) -> Settings:
    """Return the settings; those that the environment does not set come from the stack that runs on this machine."""
    settings = load_settings()
    record = StackState(var).running_record()
    parts = record.parts if record else {}
    return load_settings(**{name: value for name, value in parts.items() if name not in settings.model_fields_set})


def _variables() -> Iterator[Finding]:
    for name, meant in unknown_variables(os.environ).items():
        advice = f"did you mean {meant}?" if meant else "see docs/settings.md"
        yield Finding("settings", "warning", f"{name} is set but is not a setting", advice)


def _keys(settings: Settings) -> Finding:
    reached = "this machine only" if is_loopback(settings.host) else "others too"
    try:
        exist = settings.demands_keys or keys_exist(settings.redis_url)
    except ShelflineError as error:
        return Finding("keys", "warning", f"it is unknown whether there are any: {error}", "start Redis")
    if exist:
        return Finding("keys", "ok", f"the API asks for them, and {reached} can reach it")
    if is_loopback(settings.host):
        return Finding("keys", "ok", "there are none, and the API answers this machine only")
    return Finding(
        "keys",
        "error",
        f"there are none, so the API does not start on {settings.host}",
        "`shelfline keys create NAME`, or SHELFLINE_REQUIRE_KEYS=1, or SHELFLINE_HOST=127.0.0.1",
    )
