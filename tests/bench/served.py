"""Model servers to measure, and clients that load them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from serving.client import ModelClient
from tests.support.servers.model_server import ServerProcess

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
UNTUNED = "from serving.server import allocator, app; allocator.tune = lambda: False; app.main()"


@contextmanager
def served(base: Path, *flags: str, tuned: bool = True) -> Iterator[ServerProcess]:
    """A server of the versions under a folder, in a process of its own."""
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    server = ServerProcess(base, log)
    server.flags = flags
    server.command = ("-m", "serving") if tuned else ("-c", UNTUNED)
    try:
        yield server.start()
    finally:
        server.end()
        log.unlink()


def images_of(server: ServerProcess, rows: int) -> np.ndarray:
    """Images of the size that the server's model wants."""
    client = ModelClient(server.target, timeout=120)
    contract = client.describe("default").contract
    client.close()
    shape = (rows, contract.input_height, contract.input_width, 3)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def closed_loops(target: str, request: bytes, count: int, seconds: float) -> list[float]:
    """Seconds of each call of so many clients, each of which calls again as soon as it is answered."""
    over = time.monotonic() + seconds
    times: list[float] = []

    def call_until_over(call: Callable[..., bytes]) -> None:
        while time.monotonic() < over:
            began = time.monotonic()
            call(request, timeout=120)
            times.append(time.monotonic() - began)

    _together(target, count, call_until_over)
    return times


def many(target: str, request: bytes, count: int) -> None:
    """So many calls by eight clients."""

    def call_repeatedly(call: Callable[..., bytes]) -> None:
        for _ in range(count // 8):
            call(request, timeout=120)

    _together(target, 8, call_repeatedly)


def _together(target: str, count: int, work: Callable[[Callable[..., bytes]], None]) -> None:
    """So many clients at once, each with a connection of its own."""

    def client() -> None:
        with grpc.insecure_channel(target, OWN_CONNECTION) as channel:
            work(channel.unary_unary(PREDICT, None, None))

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
