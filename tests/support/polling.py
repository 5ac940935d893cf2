"""Wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.machine import SLOWNESS


def wait_until(true: Callable[[], object], seconds: float = 180.0, what: str = "the condition") -> None:
    """Poll until something holds; fail the test if it does not within `seconds` times SLOWNESS."""
    seconds *= SLOWNESS
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)
