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
ROUNDS = 5
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
    *_, job = client.wait(client.submit_folder(str(photos))["id"])
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
        with local_stack(state, models, [photos], say) as stack:
            version = max((models / "default").iterdir(), key=lambda one: int(one.name) if one.name.isdigit() else -1)
            with ceiling(version, photos) as process, ShelflineClient(stack.url) as client:
                through_the_stack(client, photos)  # warm
                speeds = {batch: statistics.median(ask(process, batch) for _ in range(2)) for batch in BATCHES}
                batch = max(speeds, key=lambda one: speeds[one])
                say(f"in process, images/s by batch size: {', '.join(f'{b}: {v:.1f}' for b, v in speeds.items())}")
                pairs = [(through_the_stack(client, photos), ask(process, batch)) for _ in range(ROUNDS)]
                for ours, other in pairs:
                    say(f"through the stack {ours:.1f}, in process at batch {batch} {other:.1f} images/s")
    ratios = sorted(ours / other for ours, other in pairs)
    say(
        f"one job of {PHOTOS} photos through the whole stack over the model in process at its best batch size: "
        f"{statistics.median(ratios):.2f} (of {ROUNDS} pairs: lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f})"
    )


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
