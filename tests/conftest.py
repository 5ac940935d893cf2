"""Fixtures that tests of every kind share."""

from __future__ import annotations

from tests.environment import wants_no_colors  # before every import that may read the environment

# isort: split
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import hypothesis
import pytest
import structlog

from tests.support.machine import SLOWNESS
from tests.support.real_ssd import need_shared
from tests.support.servers.redis_server import RedisServer
from workers.io.redis_link import RedisLink
from workers.settings import Settings

TESTS = Path(__file__).parent

# What no test file imports, since each process of pytest-xdist would pay for it: a fixture or a test does.
SLOW_IMPORTS = {"tensorflow", "keras"}
IMPORTED_AT_COLLECTION = pytest.StashKey[set[str]]()

# An example may take as long as it does: on a busy machine 200 ms are over soon.
PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# `make test` tries the same examples each time; `make test-all` asks for others by a seed, which it prints.
hypothesis.settings.register_profile("repeatable", PATIENT, derandomize=True, database=None)
hypothesis.settings.register_profile("random", PATIENT, derandomize=False, database=None)
hypothesis.settings.load_profile("repeatable")

# What is not configured otherwise logs plainly: Rich needs half a second of processor time for a traceback.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# Fixtures of the session that take seconds: the tests of the files that use one run in one process of pytest-xdist.
SHARED_FIXTURES = ("whole", "shared", "ssd300_folder", "demo_folder", "receiver")


def pytest_xdist_auto_num_workers() -> int:
    """Use two processes a core (`pytest -n auto`): about half of the time, a test waits for another process."""
    return min(2 * (os.cpu_count() or 1), 12)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Keep the tests of a file in one process of pytest-xdist, and the files together that share a costly fixture.

    It is a wrapper, because pytest-xdist reads the groups in this hook, too.

    A test marked `process` starts what it needs itself: it may run in any process, unless it shares a fixture of its
    file or a costly one with other tests.
    """
    fixtures_by_file: dict[Path, set[str]] = {}
    for item in items:
        fixtures_by_file.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))
    for item in items:
        if item.get_closest_marker("process") is None or _shares_a_fixture(item):
            shared = (name for name in SHARED_FIXTURES if name in fixtures_by_file[item.path])
            item.add_marker(pytest.mark.xdist_group(next(shared, str(item.path.relative_to(TESTS)))))
    yield


def _shares_a_fixture(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    of_its_file = any(definition[-1].scope == "module" for definition in definitions.values())
    return of_its_file or not definitions.keys().isdisjoint(SHARED_FIXTURES)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note the slow modules that collecting has imported; tests/test_environment.py looks at them."""
    session.config.stash[IMPORTED_AT_COLLECTION] = SLOW_IMPORTS.intersection(sys.modules)


@pytest.fixture(scope="session")
def imported_at_collection(pytestconfig: pytest.Config) -> set[str]:
    """The slow modules that collecting has imported."""
    return pytestconfig.stash[IMPORTED_AT_COLLECTION]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis per process of pytest-xdist; tests that kill it make their own."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Settings on the session's Redis, emptied, with short leases."""
    redis_server.empty()
    return Settings(
        redis_url=redis_server.url,
        blob_url=str(tmp_path / "blobs"),
        lease_seconds=0.6 * SLOWNESS,
        folder_roots=(tmp_path,),
    )


@pytest.fixture
def link(settings: Settings) -> Iterator[RedisLink]:
    """A connection to the emptied Redis."""
    opened = RedisLink(settings.redis_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def shared_folder() -> None:
    """What a test asks for that reads `../shared`: it is skipped where that is not there."""
    need_shared()


@pytest.fixture
def memory_store() -> Iterator[Any]:
    """Another store than the file system: fsspec's `memory://`. It is one for the whole process, so emptied around."""
    files = fsspec.filesystem("memory")
    files.rm("/", recursive=True)
    yield files
    files.rm("/", recursive=True)


def pytest_configure(config: pytest.Config) -> None:
    """Leave colors out where they are not wanted: pytest cannot see any more that the environment says so."""
    if wants_no_colors and config.option.color == "auto":
        config.option.color = "no"
