"""What the queue costs, with a model that answers at once: processor time, Redis commands and memory, polls."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from tests.bench.throughput import ROOT, make_photos, say
from tests.support.models import tiny_contract
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer

PHOTOS = 1000
POLLS = 400
SIZES = (1_000, 10_000, 100_000)
LINKS = 1000  # files of one inode


class Bench:
    """A stack with a null model, on a Redis that can be asked."""

    def __init__(
        self,
        work: Path,
        client: ShelflineClient,
        model: ScriptedServer,
        redis_server: RedisServer,
        stack_pid: int,
    ) -> None:
        import redis

        self.work, self.client, self.model = work, client, model
        self.redis_server = redis_server
        self.redis = redis.Redis.from_url(redis_server.url, decode_responses=True)
        self._stack = psutil.Process(stack_pid)
        assert redis_server.process is not None
        self._redis_process = psutil.Process(redis_server.process.pid)

    def run(self, folder: Path) -> str:
        """Run a job on a folder; its id."""
        *_, job = self.client.wait(self.client.submit_folder(str(folder)).id)
        assert job.counts.succeeded == job.counts.total, job
        return str(job.id)

    def cpu_ms(self) -> dict[str, float]:
        """Processor time so far: of the worker, the API and Redis."""
        spent = dict.fromkeys(("celery", "gunicorn"), 0.0)
        for process in self._stack.children(recursive=True):
            command = " ".join(process.cmdline())
            for name in spent:
                spent[name] += name in command and 1000 * sum(process.cpu_times()[:2])
        return spent | {"redis": 1000 * sum(self._redis_process.cpu_times()[:2])}

    def commands(self) -> dict[str, int]:
        """Redis commands so far: those that were sent, and those that scripts made of them."""
        stats: dict[str, dict[str, Any]] = self.redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(counts["calls"]) for name, counts in stats.items()}
        return {"scripts": calls.get("evalsha", 0), "all": sum(calls.values())}


@contextmanager
def null_stack() -> Iterator[Bench]:
    """A stack whose model answers at once and detects nothing much, in photos of the default model's size."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "redis").mkdir()
        redis_server = RedisServer(work / "redis")
        redis_server.start()
        model = ScriptedServer(tiny_contract(height=416, width=416))
        model.start()
        os.environ |= {"REDIS_URL": redis_server.url, "SHELFLINE_MODEL_SERVER": model.target}
        state = StackState(work / "var")
        try:
            with local_stack(state, ROOT / "models", [work], say) as stack, ShelflineClient(stack.url) as client:
                record = state.read()
                assert record is not None
                yield Bench(work, client, model, redis_server, record.pid)
        finally:
            model.stop()
            redis_server.kill()


def cost_of_an_image(bench: Bench) -> None:
    """(b) Of one job of photos: what every part spends on an image."""
    folder = bench.work / "photos"
    folder.mkdir()
    make_photos(folder, PHOTOS)
    bench.run(folder)  # warm
    cpu, commands, began = bench.cpu_ms(), bench.commands(), time.monotonic()
    bench.run(folder)
    seconds = time.monotonic() - began
    spent = {name: (ms - cpu[name]) / PHOTOS for name, ms in bench.cpu_ms().items()}
    made = {name: (count - commands[name]) / PHOTOS for name, count in bench.commands().items()}
    say(
        f"null model, 1 x {PHOTOS} photos: {PHOTOS / seconds:.0f} images/s; processor ms an image: worker "
        f"{spent['celery']:.2f} (decoding included), API {spent['gunicorn']:.2f}, Redis {spent['redis']:.2f}; Redis an "
        f"image: {made['scripts']:.2f} scripts sent, {made['all']:.1f} commands in all"
    )


def many_links(folder: Path, count: int) -> None:
    """A folder of `count` small images."""
    folder.mkdir()
    original = folder
    for number in range(count):
        path = folder / f"{number:06d}.png"
        if number % LINKS == 0:
            original = path
            Image.new("RGB", (32, 32), (number // LINKS % 255, 100, 200)).save(path)
        else:
            path.hardlink_to(original)


class PeakMemory:
    """The most that Redis held while a job ran: the project's keys, and its whole data with what the server adds."""

    def __init__(self, bench: Bench) -> None:
        self._redis = bench.redis
        self._before = self._used()
        self._peak = self._before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _used(self) -> tuple[int, int]:
        with self._redis.pipeline(transaction=False) as together:
            for key in self._redis.scan_iter("sl:*", 1000):
                together.memory_usage(key, samples=0)
            keys = sum(size or 0 for size in together.execute())
        return keys, int(self._redis.info("memory")["used_memory_dataset"])

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            keys, data = self._used()
            self._peak = max(self._peak[0], keys), max(self._peak[1], data)

    def stop(self) -> tuple[float, float]:
        """Megabytes above what was there before: of the keys, of all data."""
        self._stop.set()
        self._thread.join()
        (keys, data), (keys_before, data_before) = self._peak, self._before
        return (keys - keys_before) / 1e6, (data - data_before) / 1e6


def memory(bench: Bench) -> list[str]:
    """(c) Redis' memory does not depend on the size of the job; the ids of the jobs."""
    warm = bench.work / "warm"
    many_links(warm, 2 * SIZES[0])
    bench.run(warm)  # so that every script is loaded
    peaks: list[float] = []
    jobs: list[str] = []
    for size in SIZES:
        folder = bench.work / f"of-{size}"
        many_links(folder, size)
        peak = PeakMemory(bench)
        began = time.monotonic()
        jobs.append(bench.run(folder))
        keys, data = peak.stop()
        peaks.append(keys)
        say(
            f"a job of {size} images: at most {keys:.2f} MB of Redis' keys, {data:.2f} MB more of all its data, "
            f"{size / (time.monotonic() - began):.0f} images/s"
        )
        shutil.rmtree(folder)
    say(f"Redis' keys for {SIZES[-1]} images over {SIZES[0]}: {peaks[-1] / peaks[0]:.2f}")
    return jobs


def polls(bench: Bench, large: str) -> None:
    """(d) Looking at a job costs the same whatever its size."""
    folder = bench.work / "few"
    many_links(folder, 10)
    small = bench.run(folder)
    for what, wait in (("poll", 0.0), ("long-poll of a job that is over", 10.0)):
        spent: dict[str, list[float]] = {large: [], small: []}
        for job in itertools.chain.from_iterable(itertools.repeat((large, small), POLLS)):
            began = time.perf_counter()
            bench.client.job(job, wait=wait)
            spent[job].append(1000 * (time.perf_counter() - began))
        medians = [statistics.median(spent[job]) for job in (large, small)]
        say(
            f"a {what}: {medians[0]:.2f} ms at {SIZES[-1]} images over {medians[1]:.2f} at 10: "
            f"{medians[0] / medians[1]:.2f}"
        )


def main() -> None:
    """Measure, and print."""
    with null_stack() as bench:
        cost_of_an_image(bench)
        polls(bench, memory(bench)[-1])


if __name__ == "__main__":
    main()
