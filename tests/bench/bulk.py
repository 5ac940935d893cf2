"""Bulk: folders of many photos through the whole stack.

`python -m tests.bench.bulk [small|large|cache|memory|faults ...]`; all of it where nothing is named.
SHELFLINE_BENCH_IMAGES (20,000 of 100 kB) and SHELFLINE_BENCH_PHOTOS (500 of 12 megapixels) make it smaller.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from tests.bench.queue import PeakMemory, many_links, null_stack
from tests.bench.throughput import ROOT, ask, ceiling, say

IMAGES = int(os.environ.get("SHELFLINE_BENCH_IMAGES", "20000"))
PHOTOS = int(os.environ.get("SHELFLINE_BENCH_PHOTOS", "500"))
ROUNDS = int(os.environ.get("SHELFLINE_BENCH_ROUNDS", "2"))
BATCH = 8
DIFFERENT = 40  # photos; the others are links to these
NEW_PART = 0.01
LEAST = 0.85


def originals() -> list[Path]:
    """The shop photos where they are at hand, else the samples."""
    shop = sorted((ROOT.parent / "shared" / "images").glob("*.jpg"))
    return shop or sorted((ROOT / "samples").glob("*.jpg"))


def make(folder: Path, count: int, size: tuple[int, int], most_bytes: int | None = None) -> None:
    """`count` JPEGs of a size, of about so many bytes each."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number >= DIFFERENT:
            path.hardlink_to(folder / f"{number % DIFFERENT:06}.jpg")
            continue
        with Image.open(originals()[number % len(originals())]) as image:
            photo = image.convert("RGB").resize((size[0] + number // 10, size[1]), Image.Resampling.BICUBIC)
        for quality in range(95, 20, -5):
            photo.save(path, quality=quality)
            if most_bytes is None or path.stat().st_size <= most_bytes:
                break


class Peaks:
    """The most memory, in MB, that each kind of process had while something ran: private to it, of one process."""

    def __init__(self, pid: int) -> None:
        self._stack = psutil.Process(pid)
        self.most: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for process in self._stack.children(recursive=True):
                try:
                    command, used = " ".join(process.cmdline()), process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                for name in ("celery", "gunicorn", "serving", "embedded_redis"):
                    if name in command:
                        self.most[name] = max(self.most.get(name, 0.0), (used.rss - used.shared) / 1e6)

    def stop(self) -> dict[str, float]:
        self._stop.set()
        self._thread.join()
        return self.most


def run(client: ShelflineClient, folder: Path, **options: object) -> tuple[float, float]:
    """A job on a folder: seconds from its submission to its first result, and to its end."""
    began = time.monotonic()
    job = client.submit({"folder": str(folder), **options})
    first = 0.0
    while not first:
        now = client.job(job.id)
        first = time.monotonic() - began if now.counts.succeeded or now.state.terminal else 0.0
        time.sleep(0.02)
    *_, done = client.wait(job.id)
    seconds = time.monotonic() - began
    assert done.counts.succeeded == done.counts.total, done
    return first, seconds


def against_the_ceiling(what: str, count: int, make_folder: Callable[[Path], None]) -> None:
    """A job on a folder over the same model and decoding in one process, in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder, warm = work / "photos", work / "warm"
        make_folder(folder)
        warm.mkdir()
        for path in sorted(folder.iterdir())[:24]:
            (warm / path.name).hardlink_to(path)
        state = StackState(work / "var")
        with local_stack(state, ROOT / "models", [work], say) as stack:
            version = max(
                (ROOT / "models" / "default").iterdir(), key=lambda entry: entry.name.isdigit() and int(entry.name)
            )
            subprocess.run(
                [sys.executable, "-m", "tests.bench.decoding", str(version), str(warm)], cwd=ROOT, check=True
            )
            with ceiling(version, folder) as process, ShelflineClient(stack.url) as client:
                run(client, warm)
                record = state.read()
                assert record is not None
                pairs: list[tuple[float, float]] = []
                for _ in range(ROUNDS):
                    peaks = Peaks(record.pid)
                    first, seconds = run(client, folder)
                    most = peaks.stop()
                    pairs.append((count / seconds, ask(process, BATCH)))
                ratios = [ours / other for ours, other in pairs]
                speeds = ", ".join(f"{ours:.1f}/{other:.1f}" for ours, other in pairs)
                memory = ", ".join(f"{name} {value:.0f} MB" for name, value in sorted(most.items()))
                say(
                    f"{what}: images/s over the ceiling {statistics.median(ratios):.2f} ({speeds}; wanted {LEAST}); "
                    f"first result after {first:.1f} s; at most {memory}"
                )


def small() -> None:
    """Many small photos."""
    against_the_ceiling(
        f"a folder of {IMAGES} photos of 100 kB", IMAGES, lambda folder: make(folder, IMAGES, (640, 640), 110_000)
    )


def large() -> None:
    """Large photos."""
    against_the_ceiling(
        f"a folder of {PHOTOS} photos of 12 megapixels", PHOTOS, lambda folder: make(folder, PHOTOS, (4000, 3000))
    )


def cached() -> None:
    """A folder again, of which 1 % is new."""
    count = max(100, IMAGES // 20)
    with null_stack() as bench:
        folder = bench.work / "photos"
        make(folder, DIFFERENT, (640, 640), 110_000)
        contents = [path.read_bytes() for path in sorted(folder.iterdir())]

        def write(numbers: range) -> None:
            for number in numbers:  # what is behind the image's end makes the files differ
                (folder / f"{number:06}.jpg").write_bytes(contents[number % DIFFERENT] + b"%d" % number)

        write(range(count))
        bench.run(folder)  # warm
        predicted = sum(bench.model.batches)
        _, before = run(bench.client, folder, cache=True)
        first = sum(bench.model.batches) - predicted
        write(range(int(count * NEW_PART)))
        for number in range(int(count * NEW_PART)):
            (folder / f"{number:06}.jpg").write_bytes(contents[number % DIFFERENT] + b"new %d" % number)
        predicted = sum(bench.model.batches)
        _, after = run(bench.client, folder, cache=True)
        again = sum(bench.model.batches) - predicted
        say(
            f"{count} photos of 100 kB with `cache`, a model that answers at once: {first} rows predicted in "
            f"{before:.1f} s; again with {int(count * NEW_PART)} new: {again} rows, {again / first:.3f}, {after:.1f} s"
        )


def memory() -> None:
    """What a job of ten times the images takes more."""
    with null_stack() as bench:
        state = StackState(bench.work / "var").read()
        assert state is not None
        warm = bench.work / "warm"
        many_links(warm, 2000)
        bench.run(warm)
        most: list[dict[str, float]] = []
        for count in (IMAGES // 10, IMAGES):
            folder = bench.work / f"of-{count}"
            many_links(folder, count)
            peaks, redis_peak = Peaks(state.pid), PeakMemory(bench)
            first, seconds = run(bench.client, folder)
            keys, _ = redis_peak.stop()
            most.append({**peaks.stop(), "Redis' keys": keys})
            shown = ", ".join(f"{name} {value:.1f} MB" for name, value in sorted(most[-1].items()))
            say(
                f"{count} small images, a model that answers at once: {count / seconds:.0f} images/s, first result "
                f"after {first:.2f} s, at most {shown}"
            )


def _kind(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return next((name for name in ("celery", "gunicorn") if name in command), "")


def faults() -> None:
    """A job in whose middle workers, API and Redis are killed, several times: complete, each image once."""
    with null_stack() as bench:
        folder = bench.work / "photos"
        many_links(folder, IMAGES)
        began = time.monotonic()
        job = bench.client.submit({"folder": str(folder)})
        state = StackState(bench.work / "var").read()
        assert state is not None
        kills = 0
        for part in (0.1, 0.3, 0.5, 0.7):
            while (now := bench.client.job(job.id)).progress < part and not now.state.terminal:
                time.sleep(0.05)
            for process in psutil.Process(state.pid).children(recursive=True):
                parent = process.parent()  # a master starts another; one that dies would end the stack
                if parent and parent.pid != state.pid and set(map(_kind, (process, parent))) <= {"celery", "gunicorn"}:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
            bench.redis_server.kill()
            bench.redis_server.start()
        *_, done = bench.client.wait(job.id)
        lines = list(bench.client.results(job.id))
        complete = [line["index"] for line in lines] == list(range(IMAGES)) and done.counts.succeeded == IMAGES
        say(
            f"{IMAGES} images, {kills} processes of API and workers and four times Redis killed in the middle: "
            f"{'complete, each once' if complete else f'NOT complete: {done}'}, in {time.monotonic() - began:.0f} s"
        )


PARTS = {"small": small, "large": large, "cache": cached, "memory": memory, "faults": faults}


def main() -> None:
    """Measure the parts that were named, or all."""
    for name in itertools.islice(sys.argv, 1, None) if len(sys.argv) > 1 else PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
