"""The in-process ceiling: the same model, the same decoding, the same cores, nothing in between.

`python ceiling.py VERSION_FOLDER PHOTOS` reads batch sizes from stdin, one a line, and answers each with images/s.
Decoding runs ahead in threads while the model computes, as a good script would do it.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from serving.contract import Contract
from serving.server.loading import allocator
from serving.wire.responses import DETECT_OUTPUTS, to_contract
from workers.sources.decoding import Prepared, prepare

_THREADS = 2
_LIMIT = 50_000_000


def images_per_second(model: object, contract: Contract, photos: Sequence[Path], batch: int) -> float:
    """One pass over the photos."""
    signature = model.signatures["detect"]  # type: ignore[attr-defined]
    feed = signature.inputs["images"].name
    fetches = [signature.outputs[alias].name for alias in DETECT_OUTPUTS]
    ahead: deque[Future[Prepared]] = deque()
    waiting = iter(photos)
    began = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:

        def prepared(path: Path) -> Prepared:
            return prepare(path.read_bytes(), contract, _LIMIT)

        def fill() -> None:
            while len(ahead) < 2 * batch and (path := next(waiting, None)):
                ahead.append(threads.submit(prepared, path))

        fill()
        while ahead:
            rows = [ahead.popleft().result().rows[0] for _ in range(min(batch, len(ahead)))]
            fill()
            model.run({feed: np.stack(rows)}, fetches)  # type: ignore[attr-defined]
    return len(photos) / (time.monotonic() - began)


def main() -> None:
    """Load the model, then answer."""
    allocator.tune()
    from serving.server.loading.saved_model import LoadedModel

    model = LoadedModel(Path(sys.argv[1]))
    describe = model.signatures["describe"]
    (texts,) = model.run({describe.inputs["query"].name: np.zeros(1, np.int32)}, [describe.outputs["contract"].name])
    contract = to_contract({"contract": np.asarray(texts, object)})
    photos = sorted(Path(sys.argv[2]).iterdir())
    images_per_second(model, contract, photos[:32], 8)
    for line in sys.stdin:
        print(f"{images_per_second(model, contract, photos, int(line)):.3f}", flush=True)


if __name__ == "__main__":
    main()
