from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.graph import tensorflow
from tests.support.real_ssd import REFERENCE, need_shared

if TYPE_CHECKING:
    from exporter.models.nanodet import NanoDet

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """TensorFlow, imported when the first test runs."""
    tensorflow.prepare()


@pytest.fixture(scope="module")
def network() -> NanoDet:
    """The network with its shipped weights."""
    from exporter.models import nanodet

    return nanodet.build(nanodet.read_weights())


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[Any]]:
    """An independent implementation's answers."""
    need_shared()
    with np.load(REFERENCE) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("path", ["raw", "rgb"])
def test_it_answers_as_the_reference(network: NanoDet, reference: dict[str, NDArray[Any]], path: str) -> None:
    """Scores within 2e-3; boxes within 1e-3 where a score is over 0.05; for both ways of preprocessing."""
    from exporter.models import nanodet

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


def test_the_parameters_are_those_of_the_document(network: NanoDet) -> None:
    """3.79 million, and every one of them from the file."""
    from exporter.models.nanodet import read_weights

    assert 3_786_068 == network.raw.count_params() == sum(array.size for array in read_weights().values())


def test_the_contract_says_what_the_model_is() -> None:
    """Eighty labels from 0, the digest of the file that is shipped, and whose work it is."""
    from exporter.models.demo import demo_contract
    from exporter.models.nanodet import WEIGHTS_FILE

    contract = demo_contract("shop")
    digest = hashlib.sha256((ROOT / "exporter" / WEIGHTS_FILE).read_bytes()).hexdigest()

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
    from exporter.models.demo import demo_contract

    with pytest.raises(ExportError, match=r"^name: "):
        demo_contract("a b")
