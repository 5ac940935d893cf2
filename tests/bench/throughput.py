"""Images per second of jobs through the whole stack, over the in-process ceiling, in turns in one run."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1, 4, 8, 16)
ROUNDS = 3
PHOTOS = 1000
CLIENTS = 4


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


@dataclass(frozen=True)
class Shape:
    """So many jobs of so many images each, uploaded by a few clients at once."""

    jobs: int
    images: int

    def __str__(self) -> str:
        return f"{self.jobs} x {self.images}"

    def images_per_second(self, client: ShelflineClient, photos: Sequence[Path]) -> float:
        """From the first submit to the end of the last job."""
        parts = [photos[number * self.images : (number + 1) * self.images] for number in range(self.jobs)]
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            jobs = list(clients.map(lambda part: submit(client, part), parts))
        for job in jobs:
            *_, done = client.wait(job)
            assert done.counts.succeeded == self.images, done
        return self.jobs * self.images / (time.monotonic() - began)


SHAPES = (Shape(1, 1000), Shape(50, 20), Shape(1000, 1))


def submit(client: ShelflineClient, photos: Sequence[Path]) -> str:
    return client.submit_files([(photo.name, photo) for photo in photos]).id


def main() -> None:
    """Measure, and print the ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "photos"
        folder.mkdir()
        make_photos(folder)
        photos = sorted(folder.iterdir())
        models = ROOT / "models"
        state = StackState(work / "var")
        with local_stack(state, models, [folder], say) as stack:
            version = max(
                (models / "default").iterdir(), key=lambda entry: int(entry.name) if entry.name.isdigit() else -1
            )
            with ceiling(version, folder) as process, ShelflineClient(stack.url) as client:
                Shape(1, 100).images_per_second(client, photos)  # warm
                speeds = {batch: statistics.median(ask(process, batch) for _ in range(2)) for batch in BATCHES}
                batch = max(speeds, key=lambda size: speeds[size])
                say(f"in process, images/s by batch size: {', '.join(f'{b}: {v:.1f}' for b, v in speeds.items())}")
                for shape in SHAPES:
                    compare(shape, client, photos, lambda: ask(process, batch))


def compare(shape: Shape, client: ShelflineClient, photos: Sequence[Path], ceiling_speed: Callable[[], float]) -> None:
    """Measure a shape and the ceiling in turns."""
    pairs = [(shape.images_per_second(client, photos), ceiling_speed()) for _ in range(ROUNDS)]
    ratios = sorted(ours / other for ours, other in pairs)
    speeds = ", ".join(f"{ours:.1f}/{other:.1f}" for ours, other in pairs)
    say(
        f"{shape} photos through the whole stack over the model in process at its best batch size: "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; images/s {speeds})"
    )


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
