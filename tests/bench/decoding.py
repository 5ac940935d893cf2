"""What reduced JPEG decoding saves, and what it changes in the boxes: `python -m tests.bench.decoding VERSION PHOTOS`.

Each photo goes through the model twice in this process: as workers decode it, and decoded whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.answers import DETECT_OUTPUTS, to_contract
from serving.contract import Contract
from serving.preprocess import resize_to_input
from serving.server import allocator
from tests.bench.throughput import say
from workers.images import decode, prepare

_LIMIT = 50_000_000
Pixels = NDArray[np.uint8]


def reduced(content: bytes, contract: Contract) -> Pixels:
    """As workers decode."""
    return prepare(content, contract, _LIMIT).rows[0]


def whole(content: bytes, contract: Contract) -> Pixels:
    """Every pixel decoded."""
    image, width, height = decode(content, _LIMIT)
    return resize_to_input(image, contract, (0, 0, width, height))


def main() -> None:
    """Measure, and print."""
    allocator.tune()
    from serving.server.loader import LoadedModel

    model = LoadedModel(Path(sys.argv[1]))
    describe = model.signatures["describe"]
    (texts,) = model.run({describe.inputs["query"].name: np.zeros(1, np.int32)}, [describe.outputs["contract"].name])
    contract = to_contract({"contract": np.asarray(texts, object)})
    contents = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]

    def timed(how: Callable[[bytes, Contract], Pixels]) -> tuple[list[Pixels], float]:
        began = time.process_time()
        found = [how(content, contract) for content in contents]
        return found, 1000 * (time.process_time() - began) / len(contents)

    def found_in(pixels: Pixels) -> dict[str, Any]:
        signature = model.signatures["detect"]
        answers = model.run(
            {signature.inputs["images"].name: pixels[None]}, [signature.outputs[one].name for one in DETECT_OUTPUTS]
        )
        return {name: np.asarray(one)[0] for name, one in zip(DETECT_OUTPUTS, answers, strict=True)}

    (ours, fast), (theirs, slow) = timed(reduced), timed(whole)
    boxes, scores, others, count = 0.0, 0.0, 0, 0
    for one, other in zip(ours, theirs, strict=True):
        mine, full = found_in(one), found_in(other)
        number = int(mine["num_detections"])
        count += number
        same = number == int(full["num_detections"]) and np.array_equal(
            mine["detection_classes"][:number], full["detection_classes"][:number]
        )
        others += not same
        if same and number:
            boxes = max(boxes, float(np.abs(mine["detection_boxes"] - full["detection_boxes"])[:number].max()))
            scores = max(scores, float(np.abs(mine["detection_scores"] - full["detection_scores"])[:number].max()))
    say(
        f"{len(contents)} photos: decoding and resizing {fast:.0f} ms of processor time a photo, {slow:.0f} decoded "
        f"whole: {slow / fast:.1f} times; {count} boxes: sides differ by at most {boxes:.4f} of the photo's, scores by "
        f"{scores:.3f}; other labels or another count in {others} photos"
    )


if __name__ == "__main__":
    main()
