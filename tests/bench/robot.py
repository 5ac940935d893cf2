"""The latency of a robot's request over that of a direct Predict call of the same photo, in turns in one run."""

from __future__ import annotations

import base64
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from serving.client import ModelClient
from tests.bench.throughput import ROOT, say
from tests.support.servers.model_server import ServerProcess
from workers.robots import Robot
from workers.sources.decoding import prepare

ROUNDS, WARM = 150, 10
MAX_PIXELS = 50_000_000


def main() -> None:
    """Measure, and print the ratios: `python -m tests.bench.robot [PHOTO]`."""
    photo = (Path(sys.argv[1]) if sys.argv[1:] else ROOT / "samples" / "photo-coffee.jpg").read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        server = ServerProcess(ROOT / "models" / "default", work / "model.log")
        server.start()
        os.environ["SHELFLINE_MODEL_SERVER"] = server.target
        try:
            with (
                direct_call(server.target, photo) as direct,
                local_stack(StackState(work / "var"), ROOT / "models", [], say) as stack,
                httpx.Client(base_url=stack.url, timeout=60) as http,
            ):

                def robot() -> None:
                    sent = {"requestId": "bench", "image": base64.b64encode(photo).decode()}
                    answer = http.post(Robot().path, json=sent).json()
                    assert "result" in answer, answer

                compare("a robot's request", robot, direct)
        finally:
            server.end()


@contextmanager
def direct_call(target: str, photo: bytes) -> Iterator[Callable[[], None]]:
    """What a client of the model server does with a photo: decode, resize, Predict, decode the answer."""
    model = ModelClient(target)
    served = model.describe("default")

    def call() -> None:
        (pixels,) = prepare(photo, served.contract, MAX_PIXELS).rows
        assert model.detect(served, np.stack([pixels]))

    yield call
    model.close()


def compare(what: str, ours: Callable[[], None], direct: Callable[[], None]) -> None:
    """Time both in turns, some to warm up first, and print the ratios."""
    times: dict[str, list[float]] = {"ours": [], "direct": []}
    for number in range(ROUNDS + WARM):
        for name, call in (("ours", ours), ("direct", direct)):
            began = time.perf_counter()
            call()
            if number >= WARM:
                times[name].append(1000 * (time.perf_counter() - began))
    (p50, p95), (p50_direct, p95_direct) = (_middle_and_late(times[name]) for name in ("ours", "direct"))
    say(
        f"{what} over a direct Predict of the same photo: p50 {p50 / p50_direct:.2f} ({p50:.1f} ms, {p50_direct:.1f} "
        f"ms), p95 {p95 / p95_direct:.2f} ({p95:.1f} ms, {p95_direct:.1f} ms); {ROUNDS} pairs, load "
        f"{os.getloadavg()[0]:.1f}"
    )


def _middle_and_late(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    main()
