"""A model in this process: `python -m tests.bench.in_process VERSION_FOLDER` answers each line `ROWS CALLS`.

The answer is the milliseconds that a call of `detect` took, the median of so many.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from serving.server.loading import allocator
from serving.wire.responses import DETECT_OUTPUTS


def main() -> None:
    """Load the model, then answer."""
    allocator.tune()
    from serving.server.loading.saved_model import LoadedModel

    model = LoadedModel(Path(sys.argv[1]))
    signature = model.signatures["detect"]
    info = signature.inputs["images"]
    shape = [dim.size for dim in info.tensor_shape.dim[1:]]
    fetches = [signature.outputs[alias].name for alias in DETECT_OUTPUTS]
    for line in sys.stdin:
        rows, calls = map(int, line.split())
        images = np.random.default_rng(0).integers(0, 255, (rows, *shape), dtype=np.uint8)
        times = []
        for _ in range(calls):
            began = time.monotonic()
            model.run({info.name: images}, fetches)
            times.append(time.monotonic() - began)
        print(statistics.median(times) * 1000, flush=True)


if __name__ == "__main__":
    main()
