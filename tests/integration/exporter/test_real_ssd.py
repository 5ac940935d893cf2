"""A real trained SSD in the course's wire contract, made by other code; its answers by its own runtime beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.comparing.source import SourceModel
from exporter.models.described_export import export_described
from exporter.versions.origin import read_origin
from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections
from serving.description import read_description
from tests.support.real_ssd import MODEL, PHOTOS, contract_toml
from tests.unit.exporter.compare import assert_same, rows

if TYPE_CHECKING:
    from exporter.versions.verify import SessionModel

pytestmark = pytest.mark.usefixtures("shared_folder")


@pytest.fixture(scope="module")
def contract_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user writes to describe the model."""
    path = tmp_path_factory.mktemp("contract") / "contract.toml"
    path.write_text(contract_toml("mobilenet"), "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(contract_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a signature `detect`."""
    folder = export_described("savedmodel", MODEL / "1", contract_file, tmp_path_factory.mktemp("models"))
    assert (folder.parent.name, folder.name) == ("mobilenet", "1")
    return folder


@pytest.fixture(scope="module")
def wrapped(folder: Path) -> Iterator[SessionModel]:
    """The same, loaded as TF Serving loads it."""
    from exporter.versions.verify import SessionModel

    with SessionModel(folder) as model:
        yield model


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """For each photo what the original found."""
    detections: dict[str, Any] = json.loads((MODEL / "reference-detections.json").read_text("utf-8"))
    return detections


@pytest.fixture(scope="module")
def photos(reference: dict[str, Any]) -> NDArray[np.uint8]:
    """The photos in the order of the reference, as a client sends them."""
    opened = [Image.open(PHOTOS / name).convert("RGB") for name in reference]
    return np.stack([np.asarray(image.resize((300, 300), Image.Resampling.BILINEAR)) for image in opened])


@pytest.fixture(scope="module")
def in_graph(wrapped: SessionModel, photos: NDArray[np.uint8]) -> list[Detections]:
    """What `detect` of the wrapped model answers."""
    detections: list[Detections] = []
    for start in range(0, len(photos), 8):
        detections += rows(wrapped.predict("detect", photos[start : start + 8]))
    return detections


@pytest.fixture(scope="module")
def in_numpy(contract_file: Path, photos: NDArray[np.uint8]) -> list[Detections]:
    """What the original's `serving_default` answers, preprocessed and decoded by the client."""
    from exporter.versions.verify import SessionModel

    description = read_description(contract_file)
    detections = []
    with SessionModel(MODEL / "1") as model:
        for start in range(0, len(photos), 8):
            images = prepare(photos[start : start + 8], description.input)
            detections += decode(model.predict("serving_default", images), description)
    return detections


def sure(wanted: list[dict[str, Any]]) -> list[tuple[NDArray[np.float64], str, float]]:
    """Box, label and score of those with a score of 0.5 and more."""
    return [
        (np.array(detection["box_ymin_xmin_ymax_xmax"]), detection["label"], detection["score"])
        for detection in wanted
        if detection["score"] >= 0.5
    ]


@pytest.mark.parametrize("way", ["in_graph", "in_numpy"])
def test_it_finds_what_the_original_found(way: str, reference: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """All 160 with a score of 0.5 and more; 95 % of the box edges within 0.015, of the scores within 0.02."""
    detections: list[Detections] = request.getfixturevalue(way)
    edges, scores = [], []
    ids = {label: number for number, label in enumerate((MODEL / "labels.txt").read_text("utf-8").splitlines())}
    for in_photo, wanted in zip(detections, reference.values(), strict=True):
        for box, label, score in sure(wanted):
            same = in_photo.classes == ids[label]
            apart = np.abs(in_photo.boxes[same] - box).max(1)
            assert len(apart), "a label is missing"
            nearest = int(apart.argmin())
            assert apart[nearest] < 0.1
            edges += np.abs(in_photo.boxes[same][nearest] - box).tolist()
            scores.append(abs(float(in_photo.scores[same][nearest]) - score))

    assert len(scores) == 160
    assert np.quantile(edges, 0.95) <= 0.015
    assert np.quantile(scores, 0.95) <= 0.02


@pytest.mark.process
def test_the_two_ways_find_the_same(in_graph: list[Detections], in_numpy: list[Detections]) -> None:
    """On every photo, within float32's rounding."""
    assert_same(in_graph, in_numpy, threshold=0.3)


@pytest.mark.process
def test_verify_holds_it_against_its_source(folder: Path, photos: NDArray[np.uint8]) -> None:
    """Every detection on real photos has its like within 1e-4."""
    from exporter.comparing.comparison import compare_version

    origin = read_origin(folder)

    result = compare_version(
        folder, origin.description.contract, photos, target=None, source=SourceModel(MODEL / "1", origin)
    )

    assert result.detections > 160
    assert result.within(1e-4), result


@pytest.mark.process
def test_the_raw_signature_is_left_as_it_was(wrapped: SessionModel, photos: NDArray[np.uint8]) -> None:
    """Name for name and, within float32's rounding, number for number."""
    from exporter.versions.verify import SessionModel

    images = photos[:2].astype(np.float32) - 110
    with SessionModel(MODEL / "1") as model:
        before = model.predict("serving_default", images)
    after = wrapped.predict("serving_default", images)

    assert ["concat_3:0"] == list(before) == list(after)
    np.testing.assert_allclose(before["concat_3:0"], after["concat_3:0"], atol=1e-4)
