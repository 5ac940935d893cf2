"""Connections to Redis that break, one after another: nothing of them stays in the worker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.workers.conftest import POOLS
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from workers.settings import Settings

WARM_UP, BREAKS = 50, 200
MAY_STAY = 3  # objects more than after the warm-up. Each connection has three; what stays of each is all three


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the worker writes its counts to."""
    monkeypatch.setenv("COUNTS_FILE", str(tmp_path / "counts"))
    return tmp_path / "counts"


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as made:
        yield made


def listeners(client: redis.Redis) -> set[str]:
    """Return the connections on which a worker waits for messages."""
    return {str(connection["id"]) for connection in client.client_list() if connection["cmd"] == "brpop"}


def break_connection(client: redis.Redis) -> None:
    """Break the connection on which the worker waits for messages, and wait until it waits on another."""
    before = listeners(client)
    for number in before:
        client.client_kill_filter(_id=number)
    wait_until(lambda: listeners(client) - before, what="a new connection")


def objects_held(worker: CeleryWorker, counts: Path) -> int:
    counts.unlink(missing_ok=True)
    worker.process.send_signal(signal.SIGUSR2)
    wait_until(counts.exists, what="the counts")
    return int(counts.read_text())


@pytest.mark.process
@pytest.mark.parametrize("pool", POOLS)
def test_broken_connections_leave_nothing(
    settings: Settings, client: redis.Redis, counts: Path, tmp_path: Path, pool: str
) -> None:
    """However many broke, the main process holds as many channels, pollers and transports as after a few."""
    app = "tests.support.processes.counting_worker:app"
    worker = CeleryWorker(settings, pool, tmp_path / "worker.log", app=app)
    try:
        wait_until(lambda: listeners(client), what="a worker that waits for messages")
        for _ in range(WARM_UP):
            break_connection(client)
        before = objects_held(worker, counts)
        for _ in range(BREAKS - WARM_UP):
            break_connection(client)
        assert 3 <= objects_held(worker, counts) <= before + MAY_STAY
        assert worker.process.poll() is None
    finally:
        worker.kill()
