from __future__ import annotations

import hashlib

import numpy as np
import pytest

from exporter.models.ssd300_priors import MAPS, PriorMap, map_priors, ssd300_priors


def test_the_priors_are_the_published_ones() -> None:
    """Bit for bit the file that came with the original's weights."""
    priors = ssd300_priors()

    assert priors.shape == (7308, 8)
    assert priors.dtype == np.float32
    digest = "985b2eff687f21990c384a6c283f3427171809c7b3409a22af1d5c9787a9972f"
    assert digest == hashlib.sha256(priors.tobytes()).hexdigest()


def test_the_document_s_sums_and_rows() -> None:
    """What a reader can check by eye where the digest fails."""
    priors = ssd300_priors()

    sums = [3035.17985277, 3035.17985277, 4272.82014214, 4272.82014214, *[730.80001089] * 2, *[1461.60002178] * 2]
    np.testing.assert_allclose(priors.astype(np.float64).sum(0), sums, rtol=1e-11)
    np.testing.assert_allclose(priors[1, :4], [0, 0, 0.08386857, 0.04851323], atol=1e-8)
    np.testing.assert_allclose(priors[7302, :4], [0.04, 0.04, 0.96, 0.96], atol=1e-8)
    np.testing.assert_allclose(priors[-1, :4], [0.23441887, 0, 0.76558113, 1], atol=1e-8)


@pytest.mark.parametrize("prior_map", MAPS, ids=lambda prior_map: prior_map.layer)
def test_each_map_s_priors(prior_map: PriorMap) -> None:
    """Their number, and boxes that lie in the image and have an area."""
    priors = map_priors(prior_map)

    assert (prior_map.count, 8) == priors.shape
    assert priors[:, :4].min() >= 0
    assert priors[:, :4].max() <= 1
    assert (priors[:, 2:4] > priors[:, :2]).all()
