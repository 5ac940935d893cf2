"""What several tiles show is reported once, and whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.boxes.suppression import suppress
from serving.boxes.tile_merging import CUT_MARGIN, INSIDE, PART, READING, REPORTED, SAME, merge
from serving.boxes.tiles import Grid, Tile, cut

HEIGHT, WIDTH = 2000, 3000
WHOLE = Tile(0, 0, HEIGHT, WIDTH)
IOU = 0.5


@dataclass(frozen=True)
class Scene:
    """True boxes (M, 4), (ymin, xmin, ymax, xmax) in pixels, and their classes and scores."""

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]

    def seen_in(self, tile: Tile) -> Detections:
        """A perfect detector: every true box that the tile shows, clipped to it."""
        start, side = np.array((tile.top, tile.left)), np.array((tile.height, tile.width))
        low = np.clip((self.boxes[:, :2] - start) / side, 0, 1)
        high = np.clip((self.boxes[:, 2:] - start) / side, 0, 1)
        shown = ((high - low) * side > 1).all(axis=1)
        boxes = np.concatenate([low, high], axis=1)[shown].astype(np.float32)
        order = np.argsort(-self.scores[shown], kind="stable")
        return Detections(boxes[order], self.scores[shown][order], self.classes[shown][order])


def random_scene(seed: int, objects: int) -> Scene:
    """Objects of all sizes, of which a detector's own suppression would leave all."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(20, 900, (objects, 2))
    start = rng.uniform(0, 1, (objects, 2)) * (np.array((HEIGHT, WIDTH)) - size)
    boxes = np.concatenate([start, start + size], axis=1)
    classes = rng.integers(0, 4, objects)
    scores = rng.permutation(np.linspace(0.3, 0.95, objects)).astype(np.float32)
    one_hot = np.zeros((objects, 4), np.float32)
    one_hot[np.arange(objects), classes] = scores
    (kept,) = suppress(
        (boxes / (HEIGHT, WIDTH, HEIGHT, WIDTH)).astype(np.float32)[None],
        one_hot[None],
        score_threshold=0.0,
        nms_iou=IOU - 0.05,
        max_detections=objects,
    )
    stays = np.isin(scores, kept.scores)
    return Scene(boxes[stays], classes[stays], scores[stays])


def merged(scene: Scene, tiles: list[Tile]) -> Detections:
    return merge([scene.seen_in(tile) for tile in tiles], tiles, HEIGHT, WIDTH, nms_iou=IOU)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.floats(0, 0.4))
def test_a_perfect_detector_gives_back_the_truth(
    seed: int, objects: int, rows: int, columns: int, overlap: float
) -> None:
    """From any grid: each true box once and whole, no part of one, nothing else."""
    scene = random_scene(seed, objects)
    tiles = [WHOLE, *cut(HEIGHT, WIDTH, Grid(rows, columns), overlap=overlap, aspect=1.0)]
    detections = merged(scene, tiles)

    order = np.argsort(-scene.scores, kind="stable")
    assert detections.scores.tolist() == scene.scores[order].tolist()
    assert detections.classes.tolist() == scene.classes[order].tolist()
    pixels = detections.boxes * (HEIGHT, WIDTH, HEIGHT, WIDTH)
    np.testing.assert_allclose(pixels, scene.boxes[order], atol=0.01)


def single(box: tuple[float, float, float, float], score: float, label: int = 0) -> Detections:
    return Detections(np.array([box], np.float32), np.array([score], np.float32), np.array([label]))


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
LEFT, RIGHT = Tile(0, 0, 100, 60), Tile(0, 40, 100, 60)


def pair(left: Detections, right: Detections, whole: Detections = NOTHING) -> list[list[float]]:
    detections = merge([whole, left, right], [Tile(0, 0, 100, 100), LEFT, RIGHT], 100, 100, nms_iou=IOU)
    pixels = detections.boxes * 100
    return [[round(float(side)) for side in box] for box in pixels]


def test_a_cut_half_gives_way_to_its_whole_whatever_the_scores() -> None:
    """The left tile saw a part of it, surely; the right one all of it, unsurely."""
    assert pair(single((0.2, 0.8, 0.4, 1.0), 0.9), single((0.2, 8 / 60, 0.4, 0.8), 0.4)) == [[20, 48, 40, 88]]


def test_a_cut_half_without_a_whole_stays() -> None:
    """It is better than nothing."""
    assert pair(single((0.2, 0.8, 0.4, 1.0), 0.9), NOTHING) == [[20, 48, 40, 60]]


def test_of_two_cut_parts_the_larger_stays() -> None:
    """Where one is a part of the other: nobody saw the whole."""
    left, right = single((0.2, 0.5, 0.4, 1.0), 0.5), single((0.2, 0.0, 0.4, 0.4), 0.9)  # both see all from 40 to 60
    assert pair(left, right) == [[20, 30, 40, 60]]


def test_a_small_box_at_an_edge_is_no_part_of_a_large_one() -> None:
    """A product that a tile's edge touches does not vanish in the box of the whole shelf."""
    shelf = single((0.05, 0.05, 0.95, 0.95), 0.6)
    assert len(pair(single((0.2, 0.8, 0.4, 1.0), 0.9), NOTHING, shelf)) == 2


def several(*boxes: tuple[float, float, float, float], score: float) -> Detections:
    """Boxes of one class and about one score."""
    return Detections(
        np.array(boxes, np.float32),
        np.array([score - 0.01 * number for number in range(len(boxes))], np.float32),
        np.zeros(len(boxes), np.int64),
    )


GROUP = single((0.1, 0.05, 0.9, 0.5), 0.95)  # in the whole picture, all of it in the left tile
PRODUCTS = ((0.15, 0.2, 0.4, 0.4), (0.5, 0.2, 0.8, 0.4))  # in the left tile
PIXELS = [[15, 12, 40, 24], [50, 12, 80, 24]]  # in the picture


def test_a_box_around_a_group_gives_way_to_its_members() -> None:
    """However sure it is: a tile that shows the place reports two products in it, and no box like it."""
    assert pair(several(*PRODUCTS, score=0.6), NOTHING, GROUP) == PIXELS


def test_a_box_with_a_single_other_in_it_stays() -> None:
    """That may be a part of the thing, as a face is of a person; both are reported."""
    assert len(pair(several(PRODUCTS[0], score=0.6), NOTHING, GROUP)) == 2


def test_a_large_box_that_the_tile_tells_too_is_no_group() -> None:
    """Both looks agree that there is a large thing, with two before it."""
    seen = several(*PRODUCTS, (0.1, 0.05 / 0.6, 0.9, 0.5 / 0.6), score=0.6)
    assert pair(seen, NOTHING, GROUP) == [[10, 5, 90, 50], *PIXELS]


def test_a_large_box_whose_own_tile_tells_the_small_ones_is_no_group() -> None:
    """The whole picture's look reports all three; the tile's overlooked the large one."""
    whole = Detections(
        np.array([(0.1, 0.05, 0.9, 0.5), *(np.array(PIXELS) / 100)], np.float32),
        np.array((0.95, 0.5, 0.5), np.float32),
        np.zeros(3, np.int64),
    )
    assert pair(several(*PRODUCTS, score=0.6), NOTHING, whole) == [[10, 5, 90, 50], *PIXELS]


def test_two_readings_of_one_thing_are_told_once() -> None:
    """Of two boxes too unlike for suppression, one in the other: the surer stays, be it the smaller or the larger."""
    loose, tight = single((0.2, 0.12, 0.6, 0.3), 0.6), (0.25, 0.25, 0.45, 0.45)  # an IoU of 0.3
    assert pair(single(tight, 0.8), NOTHING, loose) == [[25, 15, 45, 27]]
    assert pair(single(tight, 0.5), NOTHING, loose) == [[20, 12, 60, 30]]


def test_other_classes_do_not_matter() -> None:
    """A cut box of one class says nothing about a whole one of another."""
    left, right = single((0.2, 0.8, 0.4, 1.0), 0.9, 1), single((0.2, 8 / 60, 0.4, 0.8), 0.4, 2)
    assert len(pair(left, right)) == 2


def test_the_whole_picture_competes_on_equal_terms() -> None:
    """The higher score stays, be it from a tile or from the whole."""
    in_left = single((0.2, 0.2, 0.4, 0.4), 0.5)
    same = single((0.2, 0.12, 0.4, 0.25), 0.6)
    assert pair(in_left, NOTHING, same) == [[20, 12, 40, 25]]
    assert pair(single((0.2, 0.2, 0.4, 0.4), 0.7), NOTHING, same) == [[20, 12, 40, 24]]


def test_nested_wholes_of_one_tile_both_stay() -> None:
    """A small object before a large one of its class is no part of it."""
    both = Detections(
        np.array([[0.1, 0.1, 0.9, 0.9], [0.4, 0.4, 0.5, 0.5]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([0, 0]),
    )
    assert len(pair(NOTHING, NOTHING, both)) == 2


def test_nothing_found_anywhere() -> None:
    """Nothing is reported."""
    assert pair(NOTHING, NOTHING) == []


@given(st.integers(0, 10**6))
def test_merging_is_deterministic_and_idempotent(seed: int) -> None:
    """Scores that are equal go by the order of the tiles; what is merged stays as it is when merged again."""
    scene = random_scene(seed, 60)
    scene = Scene(scene.boxes, scene.classes, np.round(scene.scores, 1))
    tiles = [WHOLE, *cut(HEIGHT, WIDTH, Grid(3, 4), overlap=0.2, aspect=1.0)]
    detections = merged(scene, tiles)
    again = merge([detections], [WHOLE], HEIGHT, WIDTH, nms_iou=IOU)

    for name in ("boxes", "scores", "classes"):
        assert np.array_equal(getattr(detections, name), getattr(merged(scene, tiles), name))
        assert np.array_equal(getattr(detections, name), getattr(again, name))


@given(st.integers(0, 10**6))
def test_as_a_plain_reading_of_the_rules(seed: int) -> None:
    """An independent slow merging, written from the rules, keeps the same boxes of a noisy and forgetful detector."""
    rng = np.random.default_rng(seed)
    tiles = [WHOLE, *cut(HEIGHT, WIDTH, Grid(2, 3), overlap=0.2, aspect=1.0)]
    scene = random_scene(seed, 40)
    per_tile = []
    for tile in tiles:
        seen = scene.seen_in(tile)
        noisy = np.clip(seen.boxes + rng.normal(0, 0.01, seen.boxes.shape), 0, 1).astype(np.float32)
        valid = (noisy[:, 2:] > noisy[:, :2]).all(axis=1) & (rng.uniform(size=len(noisy)) < 0.6)
        scores = rng.uniform(0.3, 1, valid.sum()).astype(np.float32)
        per_tile.append(Detections(noisy[valid], scores, seen.classes[valid]))
    fast = merge(per_tile, tiles, HEIGHT, WIDTH, nms_iou=IOU)

    assert sorted(fast.scores.tolist()) == sorted(plainly_merged(per_tile, tiles))


@dataclass(frozen=True)
class SeenBox:
    """A box as one tile saw it, in the picture."""

    box: tuple[float, ...]
    view: tuple[float, ...]
    score: float
    label: int
    cut: bool


def area(box: tuple[float, ...]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def meet(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    common = area(meet(a, b))
    return common / (area(a) + area(b) - common) if common else 0.0


def alike_where_both_look(a: SeenBox, b: SeenBox) -> float:
    shared = meet(a.view, b.view)
    return iou(meet(a.box, shared), meet(b.box, shared)) if a.label == b.label else 0.0


def in_the_smaller(a: SeenBox, b: SeenBox) -> float:
    return area(meet(a.box, b.box)) / min(area(a.box), area(b.box))


def is_part(a: SeenBox, b: SeenBox) -> bool:
    return alike_where_both_look(a, b) > SAME and in_the_smaller(a, b) > PART


def disagree(a: SeenBox, b: SeenBox, seen: list[SeenBox]) -> bool:
    """Whether one lies in the other, and neither's tile reports the other."""

    def reports(view: tuple[float, ...], other: SeenBox) -> bool:
        return any(alike_where_both_look(candidate, other) > REPORTED for candidate in seen if candidate.view == view)

    return (
        a.label == b.label
        and in_the_smaller(a, b) >= INSIDE
        and a.view != b.view
        and not reports(a.view, b)
        and not reports(b.view, a)
    )


def plainly_merged(per_tile: list[Detections], tiles: list[Tile]) -> list[float]:
    """The scores that are kept."""
    seen = []
    for detections, tile in zip(per_tile, tiles, strict=True):
        view = (
            tile.top / HEIGHT,
            tile.left / WIDTH,
            (tile.top + tile.height) / HEIGHT,
            (tile.left + tile.width) / WIDTH,
        )
        for box, score, label in zip(
            detections.boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True
        ):
            cut_off = (
                (tile.top > 0 and box[0] <= CUT_MARGIN)
                or (tile.left > 0 and box[1] <= CUT_MARGIN)
                or (tile.top + tile.height < HEIGHT and box[2] >= 1 - CUT_MARGIN)
                or (tile.left + tile.width < WIDTH and box[3] >= 1 - CUT_MARGIN)
            )
            sides = (
                (tile.top + box[0] * tile.height) / HEIGHT,
                (tile.left + box[1] * tile.width) / WIDTH,
                (tile.top + box[2] * tile.height) / HEIGHT,
                (tile.left + box[3] * tile.width) / WIDTH,
            )
            seen.append(SeenBox(sides, view, score, label, cut_off))
    wholes = [candidate for candidate in seen if not candidate.cut]
    left = [
        candidate for candidate in seen if not candidate.cut or not any(is_part(candidate, whole) for whole in wholes)
    ]
    large: list[SeenBox] = []
    for candidate in sorted(left, key=lambda other: -area(other.box)):
        if not candidate.cut or not any(other.cut and is_part(candidate, other) for other in large):
            large.append(candidate)

    def compete(a: SeenBox, b: SeenBox) -> bool:
        areas = sorted((area(a.box), area(b.box)))
        reading = areas[0] > READING * areas[1] and disagree(a, b, seen)
        return a.label == b.label and (iou(a.box, b.box) > IOU or reading)

    kept: list[SeenBox] = []
    for candidate in sorted(large, key=lambda other: -other.score):
        if not any(compete(candidate, other) for other in kept):
            kept.append(candidate)

    def is_group(candidate: SeenBox) -> bool:
        return sum(area(other.box) < area(candidate.box) and disagree(candidate, other, seen) for other in kept) > 1

    return [candidate.score for candidate in kept if not is_group(candidate)]


@pytest.mark.parametrize("among_classes", [True, False])
def test_two_labels_of_one_object_are_one_detection_among_classes(*, among_classes: bool) -> None:
    """As for a contract whose `nms` is `agnostic`: two tiles report the same object, the surer label stays."""
    per_tile = [single((0.2, 0.2, 0.8, 0.8), score, label) for score, label in ((0.9, 1), (0.8, 2))]
    whole = Tile(0, 0, 100, 100)

    merged = merge(per_tile, [whole, whole], 100, 100, nms_iou=0.5, among_classes=among_classes)

    assert merged.classes.tolist() == ([1] if among_classes else [1, 2])
