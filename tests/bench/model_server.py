"""The embedded model server: what gRPC, batching and the allocator do to a detector, a swap, the start, the memory.

`python -m tests.bench.model_server [wire] [clients] [swap] [start] [memory]`: all parts, or those that are named.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil

from serving.server.batching.settings import BatchSettings
from serving.wire.protos import PredictResponse
from serving.wire.tensors import encode_request
from tests.bench.served import OWN_CONNECTION, PREDICT, closed_loops, images_of, many, served
from tests.bench.throughput import ROOT, say
from tests.support.models import tiny_contract, write_tiny_model

CLIENTS = 64


def wire(base: Path) -> None:
    """A call by gRPC over the same call in process, in turns."""
    command = [sys.executable, "-m", "tests.bench.in_process", str(base / "1")]
    with (
        served(base) as server,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside,
        grpc.insecure_channel(server.target, OWN_CONNECTION) as channel,
    ):
        assert inside.stdin is not None
        assert inside.stdout is not None
        call = channel.unary_unary(PREDICT, None, None)
        for rows, calls in ((1, 20), (8, 5), (32, 2)):
            request = encode_request("default", "detect", {"images": images_of(server, rows)})
            pairs = []
            for _ in range(10):
                times = []
                for _ in range(calls):
                    began = time.monotonic()
                    call(request, timeout=120)
                    times.append((time.monotonic() - began) * 1000)
                inside.stdin.write(f"{rows} {calls}\n")
                inside.stdin.flush()
                pairs.append((statistics.median(times), float(inside.stdout.readline())))
            ratios = sorted(ours / other for ours, other in pairs[1:])
            extra = statistics.median(ours - other for ours, other in pairs[1:])
            alone = statistics.median(other for _, other in pairs[1:])
            say(
                f"gRPC over in process at batch {rows}: {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {extra:+.1f} ms to {alone:.0f} ms"
            )
        inside.stdin.close()


def clients(base: Path) -> None:
    """64 clients of one image each: with and without batching, with the allocator tuned and as it comes, in turns."""
    parameters = base.parent / "batching.config"
    parameters.write_text("max_batch_size { value: 16 } batch_timeout_micros { value: 2000 }")
    batching = ("--enable_batching", f"--batching_parameters_file={parameters}")
    kinds = {
        "default allocator": ((), False),
        "default allocator, batching": (batching, False),
        "tuned allocator": ((), True),
        "tuned allocator, batching": (batching, True),
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(served(base, *flags, tuned=tuned)) for name, (flags, tuned) in kinds.items()
        }
        request = encode_request("default", "detect", {"images": images_of(servers["tuned allocator"], 1)})
        turns: dict[str, list[list[float]]] = {name: [] for name in servers}
        speeds: dict[str, list[float]] = {name: [] for name in servers}
        for turn in range(6):
            for name, server in servers.items():
                began = time.monotonic()
                times = closed_loops(server.target, request, CLIENTS, 3 if turn == 0 else 8)
                if turn:
                    turns[name].append(times)
                    speeds[name].append(len(times) / (time.monotonic() - began))
    first = next(iter(servers))
    for name in servers:
        ratios = sorted(ours / other for ours, other in zip(speeds[name], speeds[first], strict=True))
        times = sorted(seconds for turn in turns[name] for seconds in turn)
        say(
            f"{CLIENTS} clients, {name}: {statistics.median(speeds[name]):.1f} images/s, "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) of the {first}'s; "
            f"p50 {times[len(times) // 2]:.2f} s, p95 {times[int(len(times) * 0.95)]:.2f} s"
        )
    say(f"batching threads: {BatchSettings().num_batch_threads}")


def swap(base: Path) -> None:
    """A new version under the load of two clients: how soon it answers, and the slowest call meanwhile."""
    models = base.parent / "swap"
    models.mkdir()
    shutil.copytree(base / "1", models / "1")
    with served(models) as server, grpc.insecure_channel(server.target, OWN_CONNECTION) as channel:
        call = channel.unary_unary(PREDICT, None, None)
        request = encode_request("default", "detect", {"images": images_of(server, 1)})
        calls: list[tuple[float, float, int]] = []  # when it began, its seconds, the version that answered
        errors: list[str] = []
        over = threading.Event()

        def call_until_over() -> None:
            while not over.is_set():
                began = time.monotonic()
                try:
                    answer = call(request, timeout=120)
                except grpc.RpcError as error:
                    errors.append(str(error))
                    continue
                version = PredictResponse.FromString(answer).model_spec.version.value
                calls.append((began, time.monotonic() - began, version))

        threads = [threading.Thread(target=call_until_over) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(5)
        for version in range(2, 8):
            shutil.copytree(models / "1", models / f"tmp-{version}")
            time.sleep(3)
            renamed = time.monotonic()
            (models / f"tmp-{version}").rename(models / str(version))
            while not any(answered == version for _, _, answered in calls[-4:]):
                time.sleep(0.01)
            time.sleep(2)
            done = time.monotonic()
            first = min(began + took for began, took, answered in calls if answered == version) - renamed
            before = sorted(took for began, took, _ in calls if renamed - 3 <= began < renamed)
            during = sorted(took for began, took, _ in calls if renamed <= began < done)
            say(
                f"swap under load: {first:.1f} s from the rename to the first answer; slowest call over the slowest "
                f"before {during[-1] / before[-1]:.2f} ({during[-1] * 1000:.0f} ms), p95 over p95 before "
                f"{during[int(len(during) * 0.95)] / before[int(len(before) * 0.95)]:.2f}; "
                f"{len(during)} calls, {len(errors)} errors"
            )
        over.set()
        for thread in threads:
            thread.join()


def start(base: Path) -> None:
    """From the start of the process to its first answer, over the import of TensorFlow alone, in turns."""
    pairs = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
        importing = time.monotonic() - began
        began = time.monotonic()
        with served(base):
            pairs.append((time.monotonic() - began, importing))
    ratios = sorted(ours / other for ours, other in pairs)
    say(
        f"start-up over TensorFlow's import: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
        f"{statistics.median(ours for ours, _ in pairs):.1f} s"
    )


def memory(base: Path) -> None:
    """Resident memory after 10,000 requests over after 100, with a small model whose images are 300 x 300."""
    models = base.parent / "small"
    models.mkdir()
    write_tiny_model(models, 1, contract=tiny_contract(height=300, width=300))
    for flags in ((), ("--enable_batching",)):
        with served(models, *flags) as server:
            assert server.process is not None
            process = psutil.Process(server.process.pid)
            request = encode_request("default", "detect", {"images": images_of(server, 1)})
            many(server.target, request, 100)
            after_100 = process.memory_info().rss
            many(server.target, request, 9_900)
            after_10_000 = process.memory_info().rss
        say(
            f"memory after 10,000 requests over after 100{', batching' if flags else ''}: "
            f"{after_10_000 / after_100:.3f} ({after_100 / 1e6:.0f} MB to {after_10_000 / 1e6:.0f} MB)"
        )


PARTS: dict[str, Callable[[Path], None]] = {
    "wire": wire,
    "clients": clients,
    "swap": swap,
    "start": start,
    "memory": memory,
}


def main() -> None:
    """Measure what is named, or everything, on the default model."""
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary)
        subprocess.run(
            [sys.executable, "-m", "exporter", "demo", "--models", str(models), "--name", "default"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in sys.argv[1:] or PARTS:
            PARTS[name](models / "default")


if __name__ == "__main__":
    main()
