"""The environment of the tests is their own, not that of whoever runs them: importing this module makes it so.

conftest.py imports it before anything else that may read the environment. Processes that tests start inherit it, and
so do the workers of pytest-xdist.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import tempfile
import time

_KEPT = re.compile(
    r"""
    PATH | TMPDIR | LD_\w+ | DYLD_\w+                  # how programs find each other, and room
    | CI | PYTEST_\w+ | COV_CORE_\w+ | COVERAGE_\w+    # for pytest and its plugins
    | DOCKER_\w+                                       # where Docker is
    | SHELFLINE_REQUIRE_ALL | SHELFLINE_TEST_\w+       # what the tests themselves are told
    """,
    re.VERBOSE,
)

wants_no_colors = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
"""Whether whoever runs the tests wants pytest's output without colors."""


def _make_home() -> str:
    """Make a home without anyone's configuration (~/.aws, ~/.config/fsspec, ~/.keras), one for all workers of a run."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return os.environ["HOME"]
    home = tempfile.mkdtemp(prefix="shelfline-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _use_own_environment() -> None:
    own = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    if "HOME" in os.environ:
        own.setdefault("DOCKER_CONFIG", f"{os.environ['HOME']}/.docker")  # where its plugins are, as Compose
    own |= {"HOME": _make_home(), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    os.environ.clear()
    os.environ.update(own)
    time.tzset()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a test starts can be interrupted all the same


_use_own_environment()
