"""The commands that show and change jobs: `jobs`, `show`, `watch`, `results`, `cancel`, `retry`, `delete`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

from api.commands.errors import UsageError
from api.commands.options import Key, Url, Var, connect, stdout_console
from api.commands.progress import job_progress
from workers.jobs.document import JobDocument
from workers.jobs.job import JobState
from workers.results.formats.registry import FormatName

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]

commands = typer.Typer()


@commands.command()
def jobs(
    *,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """List jobs, newest first."""
    table = Table("job", "state", "images", "done", "failed", "model", "created", box=None)
    with connect(url, key, var) as client:
        for job in client.jobs(limit=limit, state=state, model=model):
            counts = job.counts
            table.add_row(
                job.id,
                job.state.value,
                "-" if counts.total is None else str(counts.total),
                f"{job.progress:.0%}",
                str(counts.failed),
                job.options.model,
                job.created_at.partition(".")[0] + "Z",
            )
    stdout_console(160).print(table)


@commands.command()
def show(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Show a job."""
    with connect(url, key, var) as client:
        _tell(client.job(job))


@commands.command()
def watch(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Follow a job to its end, and show it then; exit status 1 if not every image succeeded."""
    with connect(url, key, var, patience=60.0) as client:
        found = client.job(job)
        with job_progress(Console(stderr=True)) as bar:
            for found in client.wait(job, every=1.0):
                bar.show(found.counts)
    _tell(found)
    raise typer.Exit(0 if found.state == JobState.SUCCEEDED else 1)


@commands.command()
def results(
    job: JobId,
    *,
    form: Annotated[FormatName, typer.Option("--format", help="How they are written.")] = FormatName.JSONL,
    start: Annotated[int, typer.Option(min=0, help="The index of the first image.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end first.")] = False,
    output: Annotated[Path | None, typer.Option(help="A file to write, once all of it is there; else stdout.")] = None,
    url: Url = None,
    key: Key = None,
    var: Var = Path("var"),
) -> None:
    """Write a job's finished results."""
    with connect(url, key, var, patience=60.0) as client:
        if wait:
            for _ in client.wait(job, every=1.0):
                pass
        pieces = (
            (f"{line}\n".encode() for line in client.result_lines(job, start=start))
            if form is FormatName.JSONL  # continued if the connection breaks
            else client.download(job, form, start=start)
        )
        if output:
            _write_whole(output, pieces)
        else:
            _write(sys.stdout.buffer, pieces)


@commands.command()
def cancel(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Cancel a job; what is finished keeps its result."""
    with connect(url, key, var) as client:
        _tell(client.cancel(job))


@commands.command()
def retry(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Try the failed images of a job again, as a new job, and show that."""
    with connect(url, key, var) as client:
        _tell(client.retry(job))


@commands.command()
def delete(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Delete a job that is over, with its images and results."""
    with connect(url, key, var) as client:
        client.delete(job)


def _tell(job: JobDocument) -> None:
    typer.echo(job.model_dump_json(indent=2))


def _write(out: BinaryIO, pieces: Iterable[bytes]) -> None:
    try:
        out.writelines(pieces)
        out.flush()
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise typer.Exit(1) from None


def _write_whole(output: Path, pieces: Iterable[bytes]) -> None:
    beside = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as out:
            out.writelines(pieces)
        beside.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)
