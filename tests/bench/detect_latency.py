"""The latency of `POST /v1/detect` over that of a direct Predict call of the same image, in turns in one run.

Also beside a running bulk job: what a waiting caller notices of it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from serving.client import ModelClient
from tests.bench.throughput import ROOT, make_photos, say
from tests.support.servers.model_server import ServerProcess
from workers.sources.decoding import prepare

ROUNDS = 100
BULK = 300
MAX_PIXELS = 50_000_000


def main() -> None:
    """Measure, and print the ratios."""
    photo = (ROOT / "samples" / "photo-coffee.jpg").read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "photos"
        folder.mkdir()
        make_photos(folder, BULK)
        server = ServerProcess(ROOT / "models" / "default", work / "model.log")
        server.start()
        os.environ["SHELFLINE_MODEL_SERVER"] = server.target
        model = ModelClient(server.target)
        served = model.describe("default")

        def direct() -> None:
            pixels = prepare(photo, served.contract, MAX_PIXELS).rows[0]
            assert model.detect(served, np.stack([pixels]))

        try:
            with (
                local_stack(StackState(work / "var"), ROOT / "models", [folder], say) as stack,
                httpx.Client(base_url=stack.url, timeout=60) as http,
                ShelflineClient(stack.url) as client,
            ):

                def through() -> None:
                    answer = http.post("/v1/detect", content=photo, headers={"Content-Type": "image/jpeg"})
                    assert answer.status_code == 200, answer.text

                compare("idle", through, direct)
                job = client.submit_files([(path.name, path) for path in sorted(folder.iterdir())])
                compare(f"beside a job of {BULK}", through, direct, until=lambda: client.job(job.id).finished_at)
        finally:
            model.close()
            server.end()


def compare(
    when: str, through: Callable[[], None], direct: Callable[[], None], until: Callable[[], object] = lambda: False
) -> None:
    """Measure both in turns, some to warm up first."""
    ours: list[float] = []
    plain: list[float] = []
    for number in range(ROUNDS + 5):
        if until():
            break
        for call, seconds in ((through, ours), (direct, plain)):
            began = time.perf_counter()
            call()
            if number >= 5:
                seconds.append(time.perf_counter() - began)
    middle, least = statistics.median(ours), statistics.median(plain)
    late = statistics.quantiles(ours, n=20)[-1]
    say(
        f"POST /v1/detect over a direct Predict with decoding, {when}: p50 {middle / least:.2f} "
        f"({1000 * middle:.1f} ms, {1000 * least:.1f} ms), p95 {1000 * late:.1f} ms; {len(ours)} calls"
    )


if __name__ == "__main__":
    main()
