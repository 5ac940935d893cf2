"""The main thread of the web server, with real sockets: one event may close a connection that has the next event."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from api.http.connections.web_worker import Connection, ConnectionSettings, Worker, worker_class

LIMIT = 2  # connections


@pytest.fixture
def worker() -> Iterator[Worker]:
    config = Config()
    config.set("worker_connections", LIMIT)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made = worker_class(ConnectionSettings(20.0, 10**6))(1, 1, [listener], None, 30, config, Logger(config))
        made.poller = stack.enter_context(selectors.DefaultSelector())
        stack.callback(made.tmp.close)
        made.set_accept_enabled(enabled=True)
        yield made
        for conn in list(made._arriving):
            made._end(conn)


def _connect(worker: Worker) -> socket.socket:
    return socket.create_connection(worker.sockets[0].getsockname())


def _accepted(worker: Worker) -> Connection:
    """Accept a connection; return it as one that has been silent for a minute."""
    worker.wait_for_and_dispatch_events(5.0)
    conn: Connection = next(iter(worker._arriving))
    conn.arrival.began_at -= 60
    return conn


def test_a_connection_that_makes_room_and_sends_at_the_same_time(worker: Worker) -> None:
    """It is closed once, so that the worker still knows how many connections it has."""
    with _connect(worker) as old:
        _accepted(worker)
        with _connect(worker):
            old.send(b"GET / HT")
            worker.wait_for_and_dispatch_events(5.0)
            assert (worker.nr_conns, len(worker._arriving)) == (1, 1)


def test_an_idle_connection_that_makes_room_and_sends_at_the_same_time(worker: Worker) -> None:
    """It is closed, and the worker goes on: an error of its main thread would end it with all requests under way."""
    with _connect(worker) as old:
        conn = _accepted(worker)
        worker._unwatch(conn)
        worker.keepalived_conns.append(conn)  # as after a response
        worker.poller.register(conn.sock, selectors.EVENT_READ, partial(worker.on_client_socket_readable, conn))
        with _connect(worker):
            old.send(b"GET / HT")
            worker.wait_for_and_dispatch_events(5.0)
            assert (worker.nr_conns, len(worker._arriving), len(worker.keepalived_conns)) == (1, 1, 0)
