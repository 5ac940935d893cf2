"""Show progress: images done and failed, images per second, time left. A bar on a terminal, else single lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from workers.jobs.document import CountsDocument

_WINDOW_SECONDS = 60.0  # the rate is measured over this time
_FIRST_LINE_SECONDS, _LINE_SECONDS = 10.0, 60.0
_REASON_SECONDS = 2.0  # a new version or a restart takes the model away for a moment
_NARROW = 70  # columns; a narrower terminal has no room for a bar


@dataclass
class RecentRate:
    """Measures the recent rate of progress."""

    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, done: int) -> None:
        """Record how much is done now."""
        now = self.clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """The rate per second, None if nothing was done in the measured time."""
        if not self._seen:
            return None
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - began) if now > began and done > before else None

    def left(self, remaining: int) -> str:
        """Return the time for the remaining amount in words, "" if the rate is unknown or nothing remains."""
        if self.rate is None or not remaining:
            return ""
        seconds = remaining / self.rate
        if seconds < 90:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


@dataclass
class WaitingReason:
    """Tells when the user should hear why a job waits: once per reason, and only if it has lasted for 2 s."""

    clock: Callable[[], float] = time.monotonic
    _reason: str | None = None
    _since: float = 0.0
    _was_news: bool = False

    def is_news(self, reason: str | None) -> bool:
        """Record why the job waits now, None if it goes on. Return True if the user should hear the reason now."""
        if reason != self._reason:
            self._reason, self._since, self._was_news = reason, self.clock(), False
        if reason is None or self._was_news or self.clock() - self._since < _REASON_SECONDS:
            return False
        self._was_news = True
        return True


class JobProgress:
    """Shows the progress of a job or a run: a bar on a terminal, else a line after 10 s and then once a minute."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._task = progress.add_task("Detecting", total=None, rate="", failed="")
        self._clock = clock
        self._rate = RecentRate(clock)
        self._next_line = clock() + _FIRST_LINE_SECONDS
        self._last_line: str | None = None

    def show(self, counts: CountsDocument) -> None:
        """Show a job's counts."""
        self.show_numbers(counts.succeeded + counts.failed + counts.canceled, counts.total, counts.failed)

    def show_numbers(self, done: int, total: int | None, failed: int, more: str = "") -> None:
        """Show how many of `total` images are done, and how many of these failed; `more` is added at the end.

        `total` is None while the images are being listed.
        """
        self._rate.note(done)
        rate = f"{self._rate.rate:.1f} images/s" if self._rate.rate else ""
        left = "" if total is None else self._rate.left(total - done)
        rate_and_left = ", ".join(filter(None, (rate, left, more)))
        if not self._progress.disable:
            failures = f"[red]{failed:,} failed[/red]" if failed else ""
            self._progress.update(self._task, completed=done, total=total, rate=rate_and_left, failed=failures)
        elif self._clock() >= self._next_line:
            images = f"{done:,} of {'?' if total is None else f'{total:,}'} images"
            failures = f"{failed:,} failed" if failed else ""
            line = ", ".join(filter(None, (images, failures, rate_and_left)))
            if line != self._last_line:
                self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._last_line = line
            self._next_line = self._clock() + _LINE_SECONDS


@contextmanager
def job_progress(console: Console) -> Iterator[JobProgress]:
    """Yield the progress of a job or a run; it shows a bar if the console is a terminal."""
    bar = () if console.width < _NARROW else (TextColumn("{task.description}"), BarColumn(bar_width=None))
    columns = (*bar, MofNCompleteColumn(), TextColumn("{task.fields[failed]}"), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=console, expand=bool(bar), disable=not console.is_terminal) as progress:
        yield JobProgress(progress)


@contextmanager
def drawing_progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar while `total` pictures are drawn; yields a function to call after each picture."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Drawing", total=total)
        yield lambda: progress.advance(task)
