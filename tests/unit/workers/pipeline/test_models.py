"""The cached contracts of a process: what is asked anew, what is used meanwhile, and what is published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from serving.client import ServedModel
from serving.contract import VersionStatus
from serving.errors import ContractError, ModelTimeoutError, ModelUnavailableError, ShelflineError, VersionGoneError
from serving.wire.status import ERROR_OF
from tests.support.models import tiny_contract
from tests.support.polling import wait_until
from workers.pipeline.models import Models
from workers.store.catalog import Published


class Server:
    """A model server whose answers are set; `gate` holds up `describe`."""

    def __init__(self) -> None:
        self.version = 1
        self.status_error: ShelflineError | None = None
        self.describe_error: ShelflineError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.described = 0
        self.published: list[Published] = []

    def status(self, _model: str) -> list[VersionStatus]:
        if self.status_error:
            raise self.status_error
        return [VersionStatus(self.version, "AVAILABLE", "")]

    def describe(self, model: str, version: int | None = None, *, instead: object = None) -> ServedModel:
        assert instead is None
        self.described += 1
        assert self.gate.wait(30)
        if self.describe_error:
            raise self.describe_error
        return ServedModel(model, version or self.version, tiny_contract())

    def publish(self, state: Published) -> None:
        self.published.append(state)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def models(server: Server) -> Models:
    return Models(server, server, None)  # type: ignore[arg-type]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass for what is cached."""
    passed = 0.0
    real = time.monotonic

    def pass_(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(time, "monotonic", lambda: real() + passed)
    return pass_


def test_nothing_waits_for_a_busy_server(server: Server, models: Models, later: Callable[[float], None]) -> None:
    """Work goes on with the cached version, one question is under way at a time, and its answer counts from then on."""
    assert models.current("default").version == 1
    later(3)
    server.gate.clear()
    server.version = 2
    assert [models.current("default").version for _ in range(3)] == [1, 1, 1]
    assert server.described == 2
    server.gate.set()
    wait_until(lambda: models.current("default").version == 2)


def test_without_a_thread_the_caller_asks(
    server: Server, models: Models, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all that come later would wait for an answer to a question that nobody asked."""
    models.current("default")

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for version in (2, 3):
        later(3)
        server.version = version
        assert models.current("default").version == version


@pytest.mark.parametrize("target", ["default", "default@1"])
def test_a_server_that_answers_late_is_trusted_for_a_while(
    server: Server, models: Models, later: Callable[[float], None], target: str
) -> None:
    """Not for ever: it may be frozen. A timeout is not published while the cached version is used."""
    assert models.current(target).version == 1
    server.status_error = server.describe_error = ModelTimeoutError("late")
    for _ in range(2):
        later(100)
        assert models.current(target).version == 1
    assert [state.error for state in server.published] in ([""], [])
    later(101)
    with pytest.raises(ModelTimeoutError):
        models.current(target)


def test_a_version_that_is_still_served_needs_no_description(
    server: Server, models: Models, later: Callable[[float], None]
) -> None:
    """The probe publishes it as available; another version is not guessed at."""
    models.current("default")
    server.describe_error = ModelTimeoutError("late")
    later(1000)
    assert models.current("default", fresh=True).version == 1
    assert [(state.error, state.version) for state in server.published] == [("", 1)] * 2
    server.version = 2
    with pytest.raises(ModelTimeoutError):
        models.current("default", fresh=True)


@pytest.mark.parametrize("error", [ModelUnavailableError("down"), VersionGoneError("gone"), ContractError("bad")])
def test_what_is_certain_is_believed(
    server: Server, models: Models, later: Callable[[float], None], error: ShelflineError
) -> None:
    """A server that is down, a version that is gone, a bad contract: nothing is claimed, and everybody is told."""
    models.current("default")
    server.describe_error = error
    later(3)
    for _ in range(2):
        with pytest.raises(type(error)):
            models.current("default")
    assert [state.error for state in server.published] == ["", str(error), str(error)]
    server.describe_error = None
    assert models.current("default").version == 1


def test_a_timeout_has_an_error_of_its_own() -> None:
    """It is what a deadline that passed becomes."""
    assert [code.name for code, error in ERROR_OF.items() if error is ModelTimeoutError] == ["DEADLINE_EXCEEDED"]
