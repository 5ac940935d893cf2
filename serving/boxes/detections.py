"""The detections of one row of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """The K detections of one row of a batch, best first.

    `boxes` float32 (K, 4): (ymin, xmin, ymax, xmax), normalised to the row. `scores` float32 (K,), in 0..1.
    `classes` int64 (K,): label ids of the model's contract. `not_finite`: how many detections the model's answer had
    besides, with a box, score or label that is NaN or infinite; they are left out.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    not_finite: int = 0

    def __len__(self) -> int:
        return len(self.scores)
