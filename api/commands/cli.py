"""The command line: `shelfline detect`, `up`, `doctor`, the commands of jobs, `keys`, `export`, `models`."""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from api.access.refusals import KeyMissingError
from api.client.client import Options
from api.commands.detect.command import run_detect
from api.commands.detect.request import MAX_PICTURES, DetectRequest
from api.commands.doctor import doctor
from api.commands.errors import UsageError
from api.commands.jobs import commands
from api.commands.keys import app as keys_app
from api.commands.options import Key, Url, Var, stdout_console
from api.commands.stack.plan import PROJECT
from api.commands.stack.up import run_stack
from api.commands.webhooks import app as webhooks_app
from serving.errors import ShelflineError
from workers.process import CANNOT
from workers.results.formats.registry import FormatName
from workers.sources.selection import Selection

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(commands)
app.command()(doctor)
app.add_typer(keys_app, name="keys")
app.add_typer(webhooks_app, name="webhooks")

Models = Annotated[Path, typer.Option(envvar="SHELFLINE_MODELS", help="The folder of the exported models.")]


@app.callback()
def _shelfline() -> None:
    """Detect products in photos, in bulk and on demand."""


@app.command()
def detect(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER_OR_FILES...", help="Folders with photos, and photo files.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write results.jsonl and annotated/ to.")] = Path("out"),
    forms: Annotated[
        list[FormatName] | None, typer.Option("--format", help="Write the results in this format too; may be repeated.")
    ] = None,
    annotate: Annotated[
        int, typer.Option(min=0, help="Draw boxes on at most this many photos; 0 for none.")
    ] = MAX_PICTURES,
    model: Annotated[str | None, typer.Option(help="The model; by default that of the server.")] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out detections with a lower score.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Keep the best detections, at most this many per photo.")
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(help="Detect in tiles of each photo too: auto, or rows x columns, such as 2x3.")
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.8, help="How far neighbouring tiles overlap, as a fraction of a tile's side."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Take only photos whose names match, such as '*.jpg' or 'aisle-?/**'; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out photos whose names match; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only this many photos, the first ones.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Take only this many photos, chosen by a hash of their names.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Use stored results of the same bytes by the same version of the model.")
    ] = False,
    max_failure_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Give up a job if more than this fraction of its photos fails.")
    ] = None,
    watch_folder: Annotated[
        bool, typer.Option("--watch-folder", help="Go on with new photos as they arrive, until Ctrl-C.")
    ] = False,
    resume: Annotated[str | None, typer.Option(metavar="JOB", help="Wait for this job, and write its results.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over instead of continuing an interrupted run.")
    ] = False,
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload the photos even if the server could read them from its disk.")
    ] = (False),
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
    models: Models = Path("models"),
) -> None:
    """Detect products in photos. If no stack is running, start one for the time of the run.

    If a run is interrupted, the same command continues it.
    """
    if bool(paths) == bool(resume):
        raise UsageError("Name folders or files of photos, or --resume a job, but not both.")
    options: Options = {
        "model": model,
        "min_score": min_score,
        "max_detections": max_detections,
        "tiles": tiles,
        "overlap": overlap,
        "max_failure_rate": max_failure_rate,
        "cache": cache or None,
    }
    try:
        selection = Selection(tuple(include or ()), tuple(exclude or ()), limit, sample)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    request = DetectRequest(
        paths=paths or [],
        out=out,
        state_folder=var,
        models=models,
        url=url,
        key=key,
        options=options,
        selection=selection,
        formats=forms or [],
        max_pictures=annotate,
        watch=watch_folder,
        upload=upload,
        restart=restart,
        job=resume,
    )
    raise typer.Exit(run_detect(request, console=stdout_console(120), status=Console(stderr=True)))


@app.command()
def up(
    *,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port of the API; 0 takes a free one.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="A folder that jobs may read, by default this one; may be repeated.")
    ] = None,
    var: Var = Path("var"),
    models: Models = Path("models"),
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Run the whole stack in the foreground: Redis, the model server, a worker, the API. Ctrl-C stops it."""
    roots = [path.resolve() for path in root or ([] if until_stdin_closes else [Path()])]
    raise typer.Exit(
        run_stack(state_folder=var, models=models, port=port, roots=roots, until_stdin_closes=until_stdin_closes)
    )


_PASS_ARGUMENTS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASS_ARGUMENTS_ON)
def export(context: typer.Context) -> None:
    """Export a Keras detector as a model to serve; see `shelfline export --help`."""
    _exec_exporter(context.args)


@app.command(context_settings=_PASS_ARGUMENTS_ON)
def models(context: typer.Context) -> None:
    """List, verify, roll back and remove exported models; see `shelfline models --help`."""
    _exec_exporter(["models", *context.args])


def main() -> None:
    """Run a command; on an error, print one line to stderr and exit with status 2."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    for stream in (sys.stdout, sys.stderr):  # names may have characters that the terminal's encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ShelflineError as error:
        advice = " Give it with --key or SHELFLINE_API_KEY." if error.code == KeyMissingError.code else ""
        typer.echo(f"Error: {error}{advice}", err=True)
        sys.exit(CANNOT)


def _exec_exporter(arguments: list[str]) -> None:
    """Replace this process with the exporter, because it needs TensorFlow, which the API must not import.

    Raises UsageError if the exporter is not installed, as in the container image of the API.
    """
    if find_spec("exporter") is None:
        raise UsageError(
            "The exporter is not installed here. With containers, run `docker-compose run --rm exporter` (see "
            "docs/deploy.md); otherwise run .venv/bin/shelfline in a checkout."
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "exporter", *arguments])  # noqa: S606  the project's own command


def _exit_on_signal(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
