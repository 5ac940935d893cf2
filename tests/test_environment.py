"""The tests do not depend on the environment of whoever runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

HOSTILE = {
    "PORT": "5987",
    "REDIS_URL": "redis://nowhere",
    "BLOB_URL": "/nowhere",
    "SHELFLINE_BATCH_ROWS": "7",
    "SHELFLINE_MODEL": "other",
    "SHELFLINE_VAR": "/nowhere",
    "http_proxy": "http://127.0.0.1:1",
    "ALL_PROXY": "http://127.0.0.1:1",
    "AWS_PROFILE": "other",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONPATH": "/nowhere",
    "PYTHONWARNINGS": "error",
    "FORCE_COLOR": "1",
    "GITHUB_ACTIONS": "true",
    "COLUMNS": "20",
    "TERM": "dumb",
    "LC_ALL": "C",
    "TZ": "Asia/Kathmandu",
    "HOME": "/nowhere",
}


def test_collecting_imports_nothing_slow(imported_at_collection: set[str]) -> None:
    """TensorFlow takes 4 to 9 s of processor time: only the processes that run its tests import it."""
    assert imported_at_collection == set()


def test_what_is_started_can_be_interrupted() -> None:
    """Also where whoever runs the tests ignores SIGINT, which processes inherit."""
    asks = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"

    assert subprocess.check_output([sys.executable, "-c", asks], text=True) == "True\n"


@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
def test_another_environment_changes_nothing(options: tuple[str, ...]) -> None:
    """Tests that read settings or interrupt pass, in pytest's own process and in workers of pytest-xdist."""
    tests = (
        "tests/unit/api/commands/test_make_settings.py",
        "tests/unit/api/commands/stack/test_plan.py",
        f"{__file__}::{test_what_is_started_can_be_interrupted.__name__}",
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *tests],
        cwd=PROJECT,
        env=outside | HOSTILE,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )

    assert done.returncode == 0, done.stdout + done.stderr
