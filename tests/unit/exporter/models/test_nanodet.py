from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.graph import tensorflow

tensorflow.prepare()

from exporter.errors import ExportError  # noqa: E402
from exporter.models import nanodet  # noqa: E402 - prepared first
from exporter.models.demo import demo_contract  # noqa: E402
from tests.support.real_ssd import REFERENCE, need_shared  # noqa: E402

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def network() -> nanodet.NanoDet:
    """The network with its shipped weights."""
    return nanodet.build(nanodet.read_weights())


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[Any]]:
    """An independent implementation's answers."""
    need_shared()
    with np.load(REFERENCE) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("path", ["raw", "rgb"])
def test_it_answers_as_the_reference(network: nanodet.NanoDet, reference: dict[str, NDArray[Any]], path: str) -> None:
    """Scores within 2e-3; boxes within 1e-3 where a score is over 0.05; for both ways of preprocessing."""
    images = reference["images"].astype(np.float32)
    if path == "raw":
        images = images[..., ::-1] - np.array(nanodet.MEAN_BGR, np.float32)
        outputs = network.raw(images / np.array(nanodet.STD_BGR, np.float32))
    else:
        outputs = network.rgb(images - np.array(nanodet.MEAN_BGR[::-1], np.float32))

    boxes, scores = (tensor.numpy() for tensor in nanodet.decode(*outputs))

    sure = reference["scores"].max(-1) > 0.05
    assert sure.sum() > 1000
    assert np.abs(scores - reference["scores"].astype(np.float32)).max() < 2e-3
    assert np.abs(boxes - reference["boxes"])[sure].max() < 1e-3


def test_the_parameters_are_those_of_the_document(network: nanodet.NanoDet) -> None:
    """3.79 million, and every one of them from the file."""
    assert 3_786_068 == network.raw.count_params() == sum(array.size for array in nanodet.read_weights().values())


def test_the_contract_says_what_the_model_is() -> None:
    """Eighty labels from 0, the digest of the file that is shipped, and whose work it is."""
    contract = demo_contract("shop")
    digest = hashlib.sha256((ROOT / "exporter" / nanodet.WEIGHTS_FILE).read_bytes()).hexdigest()

    assert list(range(80)) == [label.id for label in contract.labels]
    assert (contract.labels[0].name, contract.labels[-1].name) == ("person", "toothbrush")
    assert ("shop", 416, 416, digest) == (
        contract.name,
        contract.input_height,
        contract.input_width,
        contract.weights_sha256,
    )
    assert "Apache-2.0" in contract.provenance


def test_a_name_that_no_address_can_carry_is_refused() -> None:
    """In one line, which says that it is the name."""
    with pytest.raises(ExportError, match=r"^name: "):
        demo_contract("a b")
