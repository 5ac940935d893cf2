"""Which failures of a model server are worth another try, and for how long."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ModelUnavailableError, RowsRejectedError, VersionGoneError
from workers.pipeline.predicting import RETRY_SECONDS, backoff, retry_unavailable


class Server:
    """A call that fails so many times, each after some seconds, on a clock of its own."""

    def __init__(self, failures: int, error: Exception, takes: float = 0.001) -> None:
        self.failures, self.error, self.takes = failures, error, takes
        self.now = 0.0
        self.calls = 0

    def call(self) -> str:
        self.calls += 1
        self.now += self.takes
        if self.calls <= self.failures:
            raise self.error
        return "answer"

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, *, give_up: bool = False) -> str:
        return retry_unavailable(self.call, lambda: give_up, self.clock, self.sleep)


def test_a_server_that_is_overloaded_for_a_moment() -> None:
    """Its answer is had by trying again."""
    server = Server(3, ModelUnavailableError("queue full"))

    assert server.ask() == "answer"
    assert server.calls == 4


def test_a_server_that_stays_away() -> None:
    """The images go back within the patience, after some tries."""
    server = Server(10**6, ModelUnavailableError("away"))
    with pytest.raises(ModelUnavailableError):
        server.ask()

    assert 4 <= server.calls <= 12
    assert server.now <= RETRY_SECONDS + server.takes  # the last try begins in time, and takes its own


@pytest.mark.parametrize("error", [RowsRejectedError("row"), VersionGoneError("version"), ValueError("bug")])
def test_what_another_try_would_not_mend(error: Exception) -> None:
    """It is told at once."""
    server = Server(1, error)
    with pytest.raises(type(error)):
        server.ask()

    assert server.calls == 1


def test_a_deadline_that_passed() -> None:
    """A call that took long is not made again: the server may still be at it."""
    server = Server(1, ModelUnavailableError("deadline"), takes=60.0)
    with pytest.raises(ModelUnavailableError):
        server.ask()

    assert server.calls == 1


def test_a_worker_that_is_told_to_stop() -> None:
    """It does not try again."""
    server = Server(1, ModelUnavailableError("away"))
    with pytest.raises(ModelUnavailableError):
        server.ask(give_up=True)

    assert server.calls == 1


@given(st.floats(0.001, 1), st.floats(1, 60), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_pauses_grow_and_are_spread(first: float, longest: float, chances: list[float]) -> None:
    """Each is between half and all of one that doubles up to the longest."""
    values = iter(chances)
    pauses = list(islice(backoff(first, longest, lambda: next(values)), 12))

    for number, pause in enumerate(pauses):
        whole = min(first * 2**number, longest)
        assert whole * 0.5 <= pause <= whole + 1e-9
