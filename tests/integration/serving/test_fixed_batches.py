"""A SavedModel that takes batches of one size only, served as it is beside a contract.toml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.client import ModelClient
from serving.description import read_description
from tests.support.raw_models import RAW_CONTRACT, write_simple_save
from tests.support.servers.model_server import ServerProcess


@pytest.mark.process
def test_no_call_has_more_rows_than_the_model_takes(own: ServerProcess, tmp_path: Path) -> None:
    """The size of the batches is read from the signature; smaller ones are filled up."""
    write_simple_save(own.base / "1", rows=2, tail="unstacked")
    own.start()
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT)
    description = read_description(tmp_path / "contract.toml")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    client = ModelClient(own.target, timeout=180)
    try:
        served = client.describe("default", instead=description)
        both = client.detect(served, images)
        alone = [client.detect(served, image[None]) for image in images]
        with pytest.raises(ValueError, match="takes batches of 2 only, not of 3"):
            client.detect(served, images[[0, 1, 0]])
    finally:
        client.close()

    assert (served.fixed_rows, served.contract.max_batch_rows, served.version) == (2, 2, 1)
    assert served.contract.model_copy(update={"max_batch_rows": 16}) == description.contract
    for together, (single,) in zip(both, alone, strict=True):
        np.testing.assert_array_equal(together.boxes, single.boxes)
        np.testing.assert_array_equal(together.scores, single.scores)
    assert both[0].boxes.tobytes() != both[1].boxes.tobytes()
