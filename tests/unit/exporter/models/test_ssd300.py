from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from exporter.graph import tensorflow
from exporter.models.ssd300_priors import ssd300_priors

if TYPE_CHECKING:
    from exporter.models.ssd300 import SSD300

HEADS = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "pool6")


def build(classes: int) -> SSD300:
    """The network, with TensorFlow imported when the first test runs."""
    tensorflow.prepare()
    from exporter.models import ssd300

    return ssd300.build(classes)


@pytest.fixture(scope="module")
def network() -> SSD300:
    """The course's: eight commodities and the background."""
    return build(9)


@pytest.mark.parametrize(("classes", "parameters"), [(21, 25_765_497), (9, 24_253_677)])
def test_the_parameters_are_those_of_the_document(classes: int, parameters: int) -> None:
    """And the output has a row a prior, 12 values more than classes."""
    model = build(classes).model

    assert parameters == model.count_params()
    assert (None, 7308, classes + 12) == model.output_shape


@pytest.mark.parametrize(("classes", "suffix"), [(21, ""), (9, "_9")])
def test_the_layers_have_the_original_s_names(classes: int, suffix: str) -> None:
    """Or the original's weights would not load; those that score are renamed where they would not fit."""
    names = {layer.name for layer in build(classes).model.layers if layer.weights}

    convolutions = [f"conv{b}_{n}" for b, depth in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, depth + 1)]
    rest = ["fc6", "fc7", *(f"conv{b}_{n}" for b in (6, 7, 8) for n in (1, 2)), "conv4_3_norm"]
    flat = {head: "_flat" if head == "pool6" else "" for head in HEADS}
    heads = [f"{head}_mbox_loc{flat[head]}" for head in HEADS]
    heads += [f"{head}_mbox_conf{flat[head]}{suffix}" for head in HEADS]
    assert {*convolutions, *rest, *heads} == names


@pytest.mark.process
def test_an_image_in_either_order_of_channels(network: SSD300) -> None:
    """The kernel's turned channels undo the image's; scores sum to 1, priors are the published ones."""
    images = np.random.default_rng(0).uniform(-120, 130, (2, 300, 300, 3)).astype(np.float32)

    bgr = network.model(images).numpy()
    rgb = network.rgb()(images[..., ::-1]).numpy()

    np.testing.assert_allclose(bgr, rgb, atol=1e-4)
    np.testing.assert_allclose(bgr[..., 4:13].sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(bgr[1, :, 13:], ssd300_priors())


def test_gamma_begins_at_20(network: SSD300) -> None:
    """And its layer makes every cell's vector that long."""
    layer = network.model.get_layer("conv4_3_norm")
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 512)).astype(np.float32)

    assert {20.0} == set(layer.get_weights()[0].tolist())
    np.testing.assert_allclose(np.linalg.norm(layer(x).numpy(), axis=-1), 20, rtol=1e-5)
