"""Helpers that tests of every kind share: a real Redis, free ports, polling."""

from __future__ import annotations

import os
import shutil
import socket
from typing import NoReturn

import pytest

# Multiplies every lease and every bound of the tests: 1 suits a busy machine of two cores.
SLOWNESS = float(os.environ.get("SHELFLINE_TEST_SLOWNESS", "1"))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def do_without(what: str) -> NoReturn:
    """Skip the test for what this machine lacks. Where SHELFLINE_REQUIRE_ALL is set, as in CI, it fails instead."""
    if os.environ.get("SHELFLINE_REQUIRE_ALL"):
        pytest.fail(what)
    pytest.skip(what)


def tool(*names: str) -> str:
    """The path of the first of these programs that this machine has; a machine that has none does without the test."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        do_without(f"{names[0]} is not installed")
    return path
