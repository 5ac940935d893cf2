"""How soon images go that came later: single ones beside a bulk job, a second bulk job, one on an idle system.

The model takes a known time a batch, so that what is measured is the queue's doing and not the model's.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.client.client import ShelflineClient
from tests.bench.queue import many_links, null_stack
from tests.bench.throughput import say
from tests.support.servers.scripted_server import ScriptedServer

BATCH_SECONDS = 0.2
LARGE = 10_000  # images of the bulk job
SINGLES = 60
PAUSE = 3 * BATCH_SECONDS  # between single images: low load


def slow(_images: NDArray[np.uint8]) -> None:
    """A model at work."""
    time.sleep(BATCH_SECONDS)


def quantiles(seconds: Sequence[float]) -> str:
    """p50, p95 and the worst, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {1000 * cuts[9]:.0f}, p95 {1000 * cuts[18]:.0f}, worst {1000 * max(seconds):.0f} ms"


def single(client: ShelflineClient, photo: Path) -> float:
    """Seconds from the acceptance of a job of one image to its end."""
    job = client.submit_files([(photo.name, photo)])
    began = time.monotonic()
    ended = client.job(job.id, wait=30)
    assert ended.state == "succeeded", ended
    return time.monotonic() - began


def beside_bulk(client: ShelflineClient, model: ScriptedServer, photos: Path) -> None:
    """Single images, and a second bulk job, while a large one runs."""
    model.fault = slow
    large = client.submit_folder(str(photos))
    while client.job(large.id).counts.succeeded < 50:
        time.sleep(0.1)
    photo = next(photos.iterdir())
    took = []
    for _ in range(SINGLES):
        time.sleep(PAUSE)
        took.append(single(client, photo))
    say(
        f"single images beside a bulk job of {LARGE}, batches of {1000 * BATCH_SECONDS:.0f} ms: {quantiles(took)}, "
        f"p95 {statistics.quantiles(took, n=20)[18] / BATCH_SECONDS:.2f} batch times"
    )
    before = len(model.batches)
    second = client.submit_files([(f"{number}.png", photo) for number in range(40)])
    while client.job(second.id).counts.succeeded == 0:
        time.sleep(0.01)
    say(f"first image of a second bulk job settled {len(model.batches) - before} batches after its acceptance")
    client.cancel(large.id)
    client.cancel(second.id)


def idle(client: ShelflineClient, model: ScriptedServer, photo: Path) -> None:
    """From the answer 202 to the model's first sight of the image, while nothing else is to be done."""
    seen = threading.Event()
    at = 0.0

    def see(_images: NDArray[np.uint8]) -> None:
        nonlocal at
        at = time.monotonic()
        seen.set()

    model.fault = see
    took = []
    for _ in range(SINGLES):
        time.sleep(0.2)
        seen.clear()
        job = client.submit_files([(photo.name, photo)])
        accepted = time.monotonic()
        assert seen.wait(10)
        took.append(max(0.0, at - accepted))
        client.job(job.id, wait=10)
    say(f"a single image on an idle system reaches the model after its acceptance: {quantiles(took)}")


def main() -> None:
    """Measure, and print."""
    with null_stack() as bench:
        photos = bench.work / "links"
        many_links(photos, LARGE)
        idle(bench.client, bench.model, next(photos.iterdir()))
        beside_bulk(bench.client, bench.model, photos)


if __name__ == "__main__":
    main()
