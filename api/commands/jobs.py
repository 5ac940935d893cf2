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
from api.commands.progress import WaitingReason, job_progress
from workers.jobs.document import JobDocument
from workers.jobs.job import JobState
from workers.results.formats.registry import FormatName

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]

commands = typer.Typer()


@commands.command()
def jobs(
    *,
    state: Annotated[JobState | None, typer.Option(help="List only jobs in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="List only jobs of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
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
        _print(client.job(job))


@commands.command()
def watch(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Follow a job to its end, then show it. The exit status is 1 if not every image succeeded."""
    with connect(url, key, var, patience=60.0) as client:
        document, status, waiting = client.job(job), Console(stderr=True), WaitingReason()
        with job_progress(status) as bar:
            for document in client.wait(job, every=1.0):
                bar.show(document.counts)
                if waiting.is_news(document.waiting_for):
                    status.print(f"Waiting. {document.waiting_for}", markup=False, highlight=False, soft_wrap=True)
    _print(document)
    raise typer.Exit(0 if document.state == JobState.SUCCEEDED else 1)


@commands.command()
def results(
    job: JobId,
    *,
    form: Annotated[FormatName, typer.Option("--format", help="The format of the results.")] = FormatName.JSONL,
    start: Annotated[int, typer.Option(min=0, help="The index of the first image.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the job first.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file, once all results are there, instead of stdout.")
    ] = None,
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
    """Cancel a job. Images that are finished keep their results."""
    with connect(url, key, var) as client:
        _print(client.cancel(job))


@commands.command()
def retry(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Retry the failed images of a job as a new job, and show the new job."""
    with connect(url, key, var) as client:
        _print(client.retry(job))


@commands.command()
def delete(job: JobId, *, url: Url = None, key: Key = None, var: Var = Path("var")) -> None:
    """Delete a job that has ended, with its images and results."""
    with connect(url, key, var) as client:
        client.delete(job)


def _print(job: JobDocument) -> None:
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
        raise UsageError(f"{output} cannot be written ({error.strerror}): name another --output.") from error
    finally:
        beside.unlink(missing_ok=True)
