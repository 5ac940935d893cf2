"""Trying a call again that an overloaded or restarting model server turned away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from serving.errors import ModelUnavailableError, VersionGoneError

Answer = TypeVar("Answer")

PATIENCE: Final = 1.5  # seconds from the first try; then the images go back to their lane, where others may take them
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds


def backoff(first: float, longest: float, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Pauses in seconds, twice as long each time up to `longest`, each between half of that and all of it.

    The chance keeps workers that were turned away together from coming back together.
    """
    pause = first
    while True:
        yield pause * (0.5 + 0.5 * chance())
        pause = min(2 * pause, longest)


def patiently(
    call: Callable[[], Answer],
    give_up: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """The answer of `call`, tried again while the server turns it away, unless `give_up` says to stop.

    A call that took long to fail is not tried again: its deadline passed, and the server may still be working on it.
    Raises what `call` raises in the end.
    """
    ends_at = clock() + PATIENCE
    for pause in backoff(_FIRST_PAUSE, _LONGEST_PAUSE):
        try:
            return call()
        except VersionGoneError:  # a new contract is needed, not another try
            raise
        except ModelUnavailableError:
            if give_up() or clock() + pause >= ends_at:
                raise
        sleep(pause)
    raise AssertionError("the pauses never end")
