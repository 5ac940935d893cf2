"""Progress on the terminal: how far, how fast, how many failed, how long still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from workers.documents import CountsDocument


class RateColumn(ProgressColumn):
    """Images a second since the start."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(f"{task.completed / elapsed:.1f} images/s" if elapsed and task.completed else "- images/s")


class JobProgress:
    """The bar of one job."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("Detecting", total=total, failed="")

    def show(self, counts: CountsDocument) -> None:
        """Show a job's counts."""
        done = counts.succeeded + counts.failed + counts.canceled
        failed = f"[red]{counts.failed} failed[/red]" if counts.failed else ""
        self._progress.update(self._task, completed=done, total=counts.total, failed=failed)


@contextmanager
def job_progress(console: Console, total: int | None) -> Iterator[JobProgress]:
    """A bar for a job of so many images."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    ) as progress:
        yield JobProgress(progress, total)


class Waiting:
    """A line that says what is being waited for."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def say(self, text: str) -> None:
        """Say what is being waited for."""
        self._progress.update(self._task, description=text)

    def stop(self) -> None:
        """Take the line away."""
        self._progress.stop()


@contextmanager
def waiting(console: Console) -> Iterator[Waiting]:
    """A line with a spinner, gone afterwards."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        yield Waiting(progress)


@contextmanager
def drawing_progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """A bar for the pictures that are drawn, gone when they are; yields what to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Drawing", total=total)
        yield lambda: progress.advance(task)
