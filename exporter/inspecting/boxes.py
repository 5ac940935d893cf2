"""Tell the units and the order of a model's boxes from the boxes themselves."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.inspecting.facts import Finding
from serving.description import UNKNOWN

Boxes = NDArray[Any]

_FEWEST: Final = 3
_FEWEST_PAIRS: Final = 32
_DISTANCES: Final = (1, 2, 4, 8)
_MOSTLY: Final = 0.98
_CLEARLY: Final = 2.0


def tell_boxes(
    boxes: Boxes, size: tuple[int, int], usual: str | None = None, *, selected: bool = False
) -> list[Finding]:
    """Tell `box_units` and `box_order` of boxes (M, P, 4) for an input of `size` (height, width) in pixels.

    Boxes that are not finite, and boxes of zeros (padding), are left out. `usual` is the order that the model's family
    writes; it is taken if the boxes do not speak against it. Boxes that were `selected` lie on no grid.
    """
    finite = np.isfinite(boxes).all(-1) & (boxes != 0).any(-1)
    boxes = np.where(finite[..., None], boxes, 0)
    chosen = boxes[finite].astype(np.float64)
    if len(chosen) < _FEWEST:
        why = f"the model has only {len(chosen)} boxes for the sample photos: try others with --images"
        return [Finding("output", "box_order", usual or UNKNOWN, why), Finding("output", "box_units", UNKNOWN, why)]
    units, why_units = _units(chosen, size)
    order, why_order = _order(boxes, finite, size if units == "pixels" else (1, 1), usual, selected=selected)
    return [Finding("output", "box_order", order, why_order), Finding("output", "box_units", units, why_units)]


def _units(chosen: Boxes, size: tuple[int, int]) -> tuple[str, str]:
    reach = float(np.percentile(np.abs(chosen), 99))
    said = f"99 % of the numbers are within {reach:.4g}, and the input has {size[1]} x {size[0]} pixels"
    if reach <= 2:
        return "normalised", said
    if 0.2 * min(size) <= reach <= 4 * max(size):
        return "pixels", said
    return UNKNOWN, f"{said}: neither fractions of the input nor pixels of it"


def _order(
    boxes: Boxes, finite: NDArray[np.bool_], size: tuple[int, int], usual: str | None, *, selected: bool
) -> tuple[str, str]:
    scale = np.array([size[1], size[0], size[1], size[0]], np.float64)
    chosen = boxes[finite].astype(np.float64)
    ends_later = float(np.mean((chosen[:, 2:] >= chosen[:, :2]).all(-1)))
    if ends_later >= _MOSTLY:
        first_is_x = None if selected else _first_is_x((boxes[..., :2] + boxes[..., 2:]) / 2, finite)
        return _corners(first_is_x, usual)
    said = f"{1 - ends_later:.0%} of the boxes would end before they begin as corners"
    chosen = chosen / scale
    as_centres = _inside(chosen[:, :2] - chosen[:, 2:] / 2, chosen[:, :2] + chosen[:, 2:] / 2)
    as_starts = _inside(chosen[:, :2], chosen[:, :2] + chosen[:, 2:])
    smooth = None if selected else _smoothness(boxes, finite)
    if smooth is not None:
        order = "cxcywh" if smooth else "xywh"
        return order, f"{said}, and the {'first numbers' if smooth else 'middles'} lie on a grid"
    if max(as_centres, as_starts) > 0.9 and abs(as_centres - as_starts) > 0.05:
        order = "cxcywh" if as_centres > as_starts else "xywh"
        return order, f"{said}; {max(as_centres, as_starts):.0%} lie inside the photo with this order"
    if usual in {"cxcywh", "xywh"}:
        return usual, f"{said}; this is what the family writes"
    return UNKNOWN, f'{said}: it is "cxcywh" or "xywh"'


def _inside(starts: Boxes, ends: Boxes) -> float:
    return float(np.mean(((starts > -0.02) & (ends < 1.02)).all(-1)))


def _corners(first_is_x: bool | None, usual: str | None) -> tuple[str, str]:  # noqa: FBT001 - it is what was told
    """Tell the order of corners: along the rows of a grid x changes from box to box, and y does not."""
    if first_is_x is not None:
        order, place = ("xyxy", "first") if first_is_x else ("yxyx", "second")
        return order, f"all end after they begin, and the {place} number changes from box to box, as x does along a row"
    if usual in {"xyxy", "yxyx"}:
        return usual, "all end after they begin; this is what the family writes"
    return UNKNOWN, 'all end after they begin, so it is "xyxy" or "yxyx", and the boxes do not tell which'


def _first_is_x(centres: Boxes, finite: NDArray[np.bool_]) -> bool | None:
    """Return whether the first coordinate is the one that changes within a row; None if neither clearly does.

    Boxes are compared with the next one, and, since several may be at one place, with later ones. The first distance at
    which one coordinate changes clearly more counts, since at that of a whole row it would be y.
    """
    spread = centres[finite].std(0)
    if not spread.all():
        return None
    centres = centres / spread  # boxes in any other order then change alike in both, also in a wide input
    for distance in _DISTANCES:
        both = finite[:, distance:] & finite[:, :-distance]
        if both.sum() < _FEWEST_PAIRS:
            return None
        changes = np.abs(centres[:, distance:] - centres[:, :-distance])[both]
        first, second = (float(changes[:, axis].mean()) for axis in range(2))
        if max(first, second) > _CLEARLY * min(first, second):
            return first > second
    return None


def _smoothness(boxes: Boxes, finite: NDArray[np.bool_]) -> bool | None:
    """Return whether the first two numbers are centres on a grid (True) or corners of boxes around such centres.

    None if they lie on no grid.
    """
    both = finite[:, 1:] & finite[:, :-1]
    if both.sum() < _FEWEST_PAIRS:
        return None
    values = boxes.astype(np.float64)
    spread = []
    for points in (values[..., :2], values[..., :2] + values[..., 2:] / 2):
        changes = np.diff(points, axis=1)[both]
        middle = np.median(changes, axis=0)
        spread.append(float(np.median(np.abs(changes - middle).sum(-1))))
    as_centres, as_corners = spread
    if max(spread) < _CLEARLY * min(spread):
        return None
    return as_centres < as_corners
