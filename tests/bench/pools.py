"""Images per second with each of Celery's pools, the stack started anew for each, in turns in one run."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from tests.bench.throughput import ROOT, Shape, make_photos, say

POOLS = (("prefork", 1), ("prefork", 2), ("threads", 1), ("threads", 2))
ROUNDS = 3
SHAPES = (Shape(1, 300), Shape(300, 1))


def main() -> None:
    """Measure, and print the ratios to the default."""
    speeds: dict[tuple[str, int], dict[Shape, list[float]]] = {pool: {shape: [] for shape in SHAPES} for pool in POOLS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        make_photos(folder, 300)
        photos = sorted(folder.iterdir())
        for number in range(ROUNDS * len(POOLS)):
            pool, processes = POOLS[number % len(POOLS)]
            os.environ |= {"SHELFLINE_POOL": pool, "SHELFLINE_CONCURRENCY": str(processes)}
            state = StackState(Path(temporary) / f"var-{number}")
            with local_stack(state, ROOT / "models", [folder], say) as stack, ShelflineClient(stack.url) as client:
                Shape(1, 60).images_per_second(client, photos)  # warm
                for shape in SHAPES:
                    speeds[pool, processes][shape].append(shape.images_per_second(client, photos))
    for (pool, processes), by_shape in speeds.items():
        for shape, own in by_shape.items():
            ratios = [a / b for a, b in zip(own, speeds[POOLS[0]][shape], strict=True)]
            say(
                f"{pool} x {processes}, {shape} photos: {statistics.median(own):.1f} images/s, "
                f"{statistics.median(ratios):.2f} of the default ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
