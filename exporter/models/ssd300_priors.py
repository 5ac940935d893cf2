"""The 7308 priors of SSD300, computed in float64 and cast to float32.

Source: rykov8/ssd_keras. The array equals its published prior file bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 300
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True)
class PriorMap:
    """The priors of a feature map of `cells` x `cells`. Sizes are in pixels of the 300 x 300 input."""

    layer: str
    cells: int
    min_size: float
    max_size: float | None
    ratios: tuple[float, ...]

    @property
    def per_cell(self) -> int:
        """Return the number of priors of a cell."""
        return 1 + (self.max_size is not None) + 2 * len(self.ratios)

    @property
    def count(self) -> int:
        """Return the number of priors of the map."""
        return self.cells**2 * self.per_cell


MAPS = (
    PriorMap("conv4_3_norm", 38, 30, None, (2,)),
    PriorMap("fc7", 19, 60, 114, (2, 3)),
    PriorMap("conv6_2", 10, 114, 168, (2, 3)),
    PriorMap("conv7_2", 5, 168, 222, (2, 3)),
    PriorMap("conv8_2", 3, 222, 276, (2, 3)),
    PriorMap("pool6", 1, 276, 330, (2, 3)),
)


def map_priors(prior_map: PriorMap) -> NDArray[np.float32]:
    """Compute the priors of a map, float32 (count, 8).

    A row holds xmin, ymin, xmax, ymax, normalised and clipped to [0, 1], and the four variances. Cells are in row-major
    order. The order in a cell is: ratio 1 at `min_size`, ratio 1 at sqrt(min_size * max_size) if there is a `max_size`,
    then each ratio and its inverse.
    """
    sizes = [(prior_map.min_size, prior_map.min_size)]
    if prior_map.max_size is not None:
        mean = math.sqrt(prior_map.min_size * prior_map.max_size)
        sizes.append((mean, mean))
    for ratio in prior_map.ratios:
        root = math.sqrt(ratio)
        sizes += [(prior_map.min_size * root, prior_map.min_size / root)]
        sizes += [(prior_map.min_size / root, prior_map.min_size * root)]
    step = SIZE / prior_map.cells
    axis = np.linspace(step / 2, SIZE - step / 2, prior_map.cells)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    half = np.array(sizes) / 2
    centres = np.stack([x, y], -1).reshape(-1, 1, 2)
    corners = np.concatenate([centres - half, centres + half], -1).reshape(-1, 4) / SIZE
    variances = np.broadcast_to(np.array(VARIANCES), corners.shape)
    return np.concatenate([corners.clip(0, 1), variances], -1).astype(np.float32)


def ssd300_priors() -> NDArray[np.float32]:
    """Return all priors, float32 (7308, 8), in the order of MAPS."""
    return np.concatenate([map_priors(prior_map) for prior_map in MAPS])
