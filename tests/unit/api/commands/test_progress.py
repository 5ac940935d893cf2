from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from api.commands.progress import JobProgress, RecentRate, WaitingReason, job_progress


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("rate", "left", "words"),
    [(1.0, 60, "60 s left"), (1.0, 600, "10 min left"), (10.0, 100_000, "2.8 h left"), (1.0, 0, "")],
)
def test_how_long_still(rate: float, left: int, words: str) -> None:
    """In the unit that one thinks in."""
    clock = Clock()
    recent = RecentRate(clock)
    recent.note(0)
    assert (recent.rate, recent.left(5)) == (None, "")
    clock.now = 10.0
    recent.note(round(10 * rate))
    assert (recent.rate, recent.left(left)) == (rate, words)


def test_the_pace_is_that_of_late() -> None:
    """What was done before the command went on says nothing, and what was long ago says little."""
    clock = Clock()
    recent = RecentRate(clock)
    done = 5000
    for second in range(200):
        clock.now = float(second)
        done += 1 if second < 100 else 10
        recent.note(done)
    assert recent.rate == pytest.approx(10, abs=0.2)


def test_lines_where_there_is_no_terminal() -> None:
    """The first after ten seconds, then one a minute, and none that says nothing new."""
    clock, out = Clock(), io.StringIO()
    bar = JobProgress(Progress(console=Console(file=out, width=20), disable=True), clock)
    for second in range(200):
        clock.now = float(second)
        bar.show_numbers(min(second * 10, 1500), 100_000, second // 50, "2 being written")
    bar.show_numbers(0, None, 0)
    lines = out.getvalue().splitlines()
    assert lines[0] == "100 of 100,000 images, 10.0 images/s, 2.8 h left, 2 being written"
    assert [line.split(",")[0] for line in lines] == ["100 of 100", "700 of 100", "1", "1"]
    assert "1 failed" in lines[1]


@pytest.mark.parametrize("width", [120, 40])
def test_a_bar_on_a_terminal(width: int) -> None:
    """It fits into one line, however narrow."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with job_progress(console) as bar:
        bar.show_numbers(4120, 100_000, 12)
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip("\r") for line in out.getvalue().splitlines()]
    assert any("4120/100000" in line and "12 failed" in line for line in shown)
    assert all(len(line) <= width for line in shown)


def test_a_reason_is_told_once_it_lasts() -> None:
    """Not that of a moment, as when a version is exchanged; another one, and the same one later, are told again."""
    clock = Clock()
    waiting = WaitingReason(clock)
    seen = []
    for second, reason in enumerate([None, "a", None, "a", "a", "a", "a", "b", "b", "b", None, "b", "b", "b"]):
        clock.now = float(second)
        if waiting.is_news(reason):
            seen.append((second, reason))

    assert seen == [(5, "a"), (9, "b"), (13, "b")]
