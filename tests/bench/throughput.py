"""Images per second of one job through the whole stack, over the in-process ceiling, in turns in one run."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.client import ShelflineClient
from api.stack import local_stack
from api.state import StackState

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1, 4, 8, 16)
ROUNDS = 3
PHOTOS = 500


def make_photos(folder: Path, count: int = PHOTOS) -> None:
    """`count` photos, the shop photos in turn where they are at hand, else the samples."""
    shop = sorted((ROOT.parent / "shared" / "images").glob("*.jpg"))
    originals = shop or sorted((ROOT / "samples").glob("*.jpg"))
    for number in range(count):
        shutil.copy(originals[number % len(originals)], folder / f"{number:05d}.jpg")


@contextmanager
def ceiling(version: Path, photos: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that measures the ceiling when it is told to."""
    command = [sys.executable, "-m", "tests.bench.ceiling", str(version), str(photos)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def ask(process: subprocess.Popen[str], batch: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{batch}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def through_the_stack(client: ShelflineClient, photos: Path) -> float:
    """Images per second from the submit to the end of the job."""
    began = time.monotonic()
    job = client.submit_folder(str(photos))
    for job in client.wait(job["id"]):  # noqa: B007, PLR1704  the last state is the end
        pass
    assert job["counts"]["succeeded"] == PHOTOS, job
    return PHOTOS / (time.monotonic() - began)


def main() -> None:
    """Measure, and print the ratio."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        photos = work / "photos"
        photos.mkdir()
        make_photos(photos)
        models = ROOT / "models"
        state = StackState(work / "var")
        with local_stack(state, models, [photos], lambda text: print(text, flush=True)) as stack:
            version = max((models / "default").iterdir(), key=lambda one: int(one.name) if one.name.isdigit() else -1)
            with ceiling(version, photos) as process, ShelflineClient(stack.url) as client:
                through_the_stack(client, photos)  # warm
                best: list[float] = []
                ours: list[float] = []
                for _ in range(ROUNDS):
                    ours.append(through_the_stack(client, photos))
                    by_batch = {batch: ask(process, batch) for batch in BATCHES}
                    best.append(max(by_batch.values()))
                    figures = ", ".join(f"batch {batch}: {speed:.1f}" for batch, speed in by_batch.items())
                    print(f"stack {ours[-1]:.1f} images/s; in process {figures} images/s", flush=True)
    ratios = sorted(one / other for one, other in zip(ours, best, strict=True))
    print(
        f"throughput of one job of {PHOTOS} photos over the in-process ceiling: "
        f"{statistics.median(ratios):.2f} (lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f}; "
        f"ceiling {statistics.median(best):.1f} images/s)"
    )


if __name__ == "__main__":
    main()
