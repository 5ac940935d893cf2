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

from serving.boxes.preprocess import resize_to_input
from serving.contract import Contract
from serving.server.loading import allocator
from serving.wire.responses import DETECT_OUTPUTS, to_contract
from tests.bench.throughput import say
from workers.sources.decoding import decode, prepare

_LIMIT = 50_000_000
_SAME = 0.5  # IoU of boxes that are one thing
Pixels = NDArray[np.uint8]


def reduced(content: bytes, contract: Contract) -> Pixels:
    """As workers decode."""
    return prepare(content, contract, _LIMIT).rows[0]


def whole(content: bytes, contract: Contract) -> Pixels:
    """Every pixel decoded."""
    image, _, _ = decode(content, _LIMIT)
    return resize_to_input(image, contract)


def main() -> None:
    """Measure, and print."""
    allocator.tune()
    from serving.server.loading.saved_model import LoadedModel

    model = LoadedModel(Path(sys.argv[1]))
    describe = model.signatures["describe"]
    (texts,) = model.run({describe.inputs["query"].name: np.zeros(1, np.int32)}, [describe.outputs["contract"].name])
    contract = to_contract({"contract": np.asarray(texts, object)})
    contents = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]

    def timed(how: Callable[[bytes, Contract], Pixels]) -> tuple[list[Pixels], float]:
        began = time.process_time()
        decoded = [how(content, contract) for content in contents]
        return decoded, 1000 * (time.process_time() - began) / len(contents)

    def found_in(pixels: Pixels) -> dict[str, Any]:
        signature = model.signatures["detect"]
        answers = model.run(
            {signature.inputs["images"].name: pixels[None]}, [signature.outputs[name].name for name in DETECT_OUTPUTS]
        )
        return {name: np.asarray(answer)[0] for name, answer in zip(DETECT_OUTPUTS, answers, strict=True)}

    (ours, fast), (theirs, slow) = timed(reduced), timed(whole)
    count, alone, sides, scores, near = 0, 0, 0.0, 0.0, 0.0
    for reduced_pixels, pixels in zip(ours, theirs, strict=True):
        mine, full = found_in(reduced_pixels), found_in(pixels)
        for first, second in ((mine, full), (full, mine)):
            for number in range(int(first["num_detections"])):
                count += 1
                side, score = _twin(first, number, second)
                if side is None:
                    alone += 1
                    near = max(near, float(first["detection_scores"][number]) - contract.score_threshold)
                else:
                    sides, scores = max(sides, side), max(scores, score)
    say(
        f"{len(contents)} photos: decoding and resizing {fast:.0f} ms of processor time a photo, {slow:.0f} decoded "
        f"whole: {slow / fast:.1f} times; of {count // 2} boxes {100 * (count - alone) / max(count, 1):.1f} % are "
        f"found both ways (same label, IoU 0.5 or more): sides differ by at most {sides:.4f} of the photo, scores by "
        f"{scores:.3f}; the others have scores of at most {near:.3f} above the threshold"
    )


def _twin(first: dict[str, Any], number: int, second: dict[str, Any]) -> tuple[float | None, float]:
    """By how much the sides and the score of a box differ from the one most like it; None where there is none."""
    box, kind = first["detection_boxes"][number], first["detection_classes"][number]
    rows = np.flatnonzero(second["detection_classes"][: int(second["num_detections"])] == kind)
    if not len(rows):
        return None, 0.0
    others = second["detection_boxes"][rows]
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    both = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - common
    best = int(np.argmax(common / both))
    if common[best] / both[best] < _SAME:
        return None, 0.0
    score = abs(float(first["detection_scores"][number] - second["detection_scores"][rows[best]]))
    return float(np.abs(box - others[best]).max()), score


if __name__ == "__main__":
    main()
