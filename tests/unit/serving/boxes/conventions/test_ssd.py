from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.boxes.candidates import ssd_boxes
from serving.boxes.decode import decode
from serving.conventions import SsdRaw
from tests.support.raw_answers import described
from tests.unit.exporter import plain


def ssd_raw(rng: np.random.Generator, *, rows: int, priors: int) -> NDArray[np.float32]:
    """A raw SSD output of five classes, background included."""
    corner = rng.uniform(0, 0.7, (priors, 2))
    prior = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (priors, 2))], -1)
    prior = np.broadcast_to(np.concatenate([prior, np.full((priors, 4), [0.1, 0.1, 0.2, 0.2])], -1), (rows, priors, 8))
    offsets, logits = rng.normal(size=(rows, priors, 4)), rng.normal(size=(rows, priors, 5)) * 3
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.concatenate([offsets, scores, prior], -1).astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), legacy=st.booleans(), broken=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_ssd_is_decoded_as_the_document_says(seed: int, *, legacy: bool, broken: bool) -> None:
    """By a slow decoder written plainly from it: the same boxes, and scores within 1e-5."""
    rng = np.random.default_rng(seed)
    raw = ssd_raw(rng, rows=2, priors=30)
    if broken:
        raw[0, 3, 2], raw[0, 4, 6], raw[1, 5, 3] = np.nan, np.inf, 1e9

    answer = decode({"x": raw}, described(SsdRaw(convention="ssd_raw", tensor="x", legacy_cy_width=legacy)))

    for row, detections in zip(raw, answer, strict=True):
        boxes = np.array([plain.ssd_box(prior, legacy_cy_width=legacy) for prior in row])
        kept = plain.suppress(boxes, row[:, [5, 6, 8]], threshold=0.3, nms_iou=0.5, limit=20)
        assert [[1, 2, 4][k.class_column] for k in kept] == detections.classes.tolist()
        np.testing.assert_allclose(detections.scores, [k.score for k in kept], atol=1e-5)
        np.testing.assert_allclose(detections.boxes, np.array([k.box for k in kept]).reshape(-1, 4), atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_encoding_is_undone(seed: int) -> None:
    """Offsets that a trainer makes of a box, by the paper's formula, decode to that box."""
    rng = np.random.default_rng(seed)
    raw = ssd_raw(rng, rows=1, priors=20).astype(np.float64)
    corner = rng.uniform(0, 0.7, (20, 2))
    box = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (20, 2))], -1)  # xmin, ymin, xmax, ymax
    prior, variance = raw[0, :, -8:-4], raw[0, :, -4:]
    size, prior_size = box[:, 2:] - box[:, :2], prior[:, 2:] - prior[:, :2]
    centre = (box[:, :2] + box[:, 2:] - prior[:, :2] - prior[:, 2:]) / 2 / prior_size
    raw[0, :, :4] = np.concatenate([centre, np.log(size / prior_size)], -1) / variance

    decoded = np.stack(ssd_boxes(raw), -1)[0]

    np.testing.assert_allclose(decoded, box[:, [1, 0, 3, 2]], atol=1e-9)


def test_the_legacy_defect_moves_only_the_centre_s_y() -> None:
    """By the prior's width instead of its height: 0.1 * (0.4 - 0.2) for an offset of 1 on this prior."""
    raw = np.array([[[1, 1, 0, 0, 0, 0, 0, 0, 0, 0.2, 0.3, 0.6, 0.5, 0.1, 0.1, 0.2, 0.2]]])

    right, legacy = (np.stack(ssd_boxes(raw, legacy_cy_width=legacy), -1)[0, 0] for legacy in (False, True))

    np.testing.assert_allclose(right, [0.32, 0.24, 0.52, 0.64])
    np.testing.assert_allclose(legacy - right, [0.02, 0, 0.02, 0], atol=1e-12)
