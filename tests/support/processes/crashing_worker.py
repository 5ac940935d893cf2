"""A worker process that some images kill: `python crashing_worker.py JOB`. White is poison.

It is the real runtime with the real pipeline; only decoding is made to crash, as a defect of a native decoder would.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from serving.contract import Contract
from workers.pipeline import pipeline
from workers.runtime import Runtime
from workers.settings import load_settings
from workers.sources import decoding


def crash_on_white(
    content: bytes, contract: Contract, max_pixels: int, tiling: decoding.Tiling | None = None
) -> decoding.Prepared:
    """Decode an image, or die of it."""
    prepared = decoding.prepare(content, contract, max_pixels, tiling)
    if prepared.rows[0].min() == 255:
        os.kill(os.getpid(), signal.SIGKILL)
    return prepared


def main() -> None:
    """Work until the job is over."""
    pipeline.prepare = crash_on_white  # type: ignore[attr-defined]
    runtime = Runtime(load_settings())
    while not runtime._context.store.get(sys.argv[1]).state.terminal:
        runtime.detect("default")
        runtime.do_duties()
        time.sleep(0.05)
    runtime.close()


if __name__ == "__main__":
    main()
