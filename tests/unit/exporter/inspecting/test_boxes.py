"""Units and order of boxes, told from boxes of a known kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.inspecting.boxes import tell_boxes
from serving.description import UNKNOWN

HEIGHT, WIDTH = 320, 480


def grid_boxes(anchors: int = 1, stride: int = 16) -> NDArray[np.float64]:
    """Boxes [cx, cy, w, h] in pixels around the cells of a grid, row by row, for two photos, (2, P, 4)."""
    random = np.random.default_rng(3)
    ys, xs = np.mgrid[0 : HEIGHT // stride, 0 : WIDTH // stride]
    centres = np.repeat(np.stack([xs.ravel(), ys.ravel()], -1), anchors, 0) * stride + stride / 2
    centres = centres + random.normal(0, 2, (2, len(centres), 2))
    return np.concatenate([centres, random.uniform(8, 150, (2, centres.shape[1], 2))], -1)


def in_order(boxes: NDArray[Any], order: str) -> NDArray[Any]:
    """The same boxes in another order of their numbers."""
    x, y, w, h = np.moveaxis(boxes, -1, 0)
    return np.stack(
        {
            "cxcywh": [x, y, w, h],
            "xywh": [x - w / 2, y - h / 2, w, h],
            "xyxy": [x - w / 2, y - h / 2, x + w / 2, y + h / 2],
            "yxyx": [y - h / 2, x - w / 2, y + h / 2, x + w / 2],
        }[order],
        -1,
    )


def order_and_units(boxes: NDArray[Any], usual: str | None = None) -> tuple[str, str]:
    """The order and the units that are told."""
    order, units = tell_boxes(boxes, (HEIGHT, WIDTH), usual)
    return order.value, units.value


@pytest.mark.parametrize("anchors", [1, 9])
@pytest.mark.parametrize("units", ["pixels", "normalised"])
@pytest.mark.parametrize("order", ["cxcywh", "xywh", "xyxy", "yxyx"])
def test_boxes_of_a_grid(order: str, units: str, anchors: int) -> None:
    """All is told, also of several boxes for each cell, with padding and numbers that are none among them."""
    boxes = grid_boxes(anchors)
    boxes = in_order(boxes, order)
    if units == "normalised":
        boxes = boxes / np.array([HEIGHT, WIDTH] * 2 if order == "yxyx" else [WIDTH, HEIGHT] * 2)
    boxes[:, -3:] = 0
    boxes[0, 5] = np.nan

    assert order_and_units(boxes) == (order, units)


def test_selected_boxes() -> None:
    """In the order of their scores they do not tell which coordinate is x, unless the family writes one order."""
    random = np.random.default_rng(0)
    boxes = random.permutation(in_order(grid_boxes(), "xyxy"), axis=1)

    assert order_and_units(boxes) == (UNKNOWN, "pixels")
    assert order_and_units(boxes, "xyxy") == ("xyxy", "pixels")
    assert order_and_units(random.permutation(grid_boxes(), axis=1), "cxcywh") == ("cxcywh", "pixels")


@pytest.mark.parametrize("boxes", [np.zeros((1, 50, 4)), np.full((1, 50, 4), np.nan), np.zeros((1, 0, 4))])
def test_no_boxes(boxes: NDArray[np.float64]) -> None:
    """Nothing is told of padding alone."""
    assert order_and_units(boxes) == (UNKNOWN, UNKNOWN)
    assert order_and_units(boxes, "xyxy") == ("xyxy", UNKNOWN)


@pytest.mark.parametrize("factor", [0.02, 100])
def test_units_that_are_neither(factor: float) -> None:
    """As of deltas to anchors, or of cells of a grid."""
    assert order_and_units(grid_boxes() * factor)[1] == UNKNOWN
