"""Models that take batches of one size only, as Ultralytics and the TF2 zoo write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.described_export import export_described, load_savedmodel
from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.description import read_description
from tests.support.export_command import export_command
from tests.support.raw_models import RAW_CONTRACT, Tail, write_simple_save
from tests.unit.exporter.compare import assert_same, rows

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract of all these models."""
    path = tmp_path_factory.mktemp("contract") / "contract.toml"
    path.write_text(RAW_CONTRACT)
    return path


def images(count: int) -> NDArray[np.uint8]:
    """Different images of noise."""
    return np.random.default_rng(count).integers(0, 256, (count, 32, 64, 3), np.uint8)


def expected(source: Path, contract: Path, photos: NDArray[np.uint8]) -> list[Detections]:
    """What the model itself answers, in batches of its own size, decoded by NumPy."""
    description = read_description(contract)
    model = load_savedmodel(source, description)
    answers = model.answers(prepare(photos, description.input))
    return [row for answer in answers for row in decode(answer, description)]


@pytest.mark.parametrize(
    ("number", "tail", "constant", "fixed"),
    [
        (1, "shapes", False, None),
        (1, "mixing", False, 1),
        pytest.param(2, "shapes", True, None, marks=pytest.mark.process),
        pytest.param(2, "unstacked", False, 2, marks=pytest.mark.process),
    ],
)
def test_each_image_is_answered_as_alone(
    contract: Path, tmp_path: Path, number: int, tail: Tail, *, constant: bool, fixed: int | None
) -> None:
    """In batches of any size; `serving_default` keeps the size if the batch cannot be opened."""
    from exporter.versions.verify import SessionModel

    write_simple_save(tmp_path / "saved", rows=number, tail=tail, constant=constant)
    photos = images(3)

    folder = export_described("savedmodel", tmp_path / "saved", contract, tmp_path / "models")

    alone = expected(tmp_path / "saved", contract, photos)
    with SessionModel(folder) as model:
        assert model.fixed_rows("serving_default") == fixed
        assert_same(alone, rows(model.predict("detect", photos)), threshold=0.25)
        assert_same(alone[:1], rows(model.predict("detect", photos[:1])), threshold=0.25)
        assert len(rows(model.predict("detect", photos[:0]))) == 0
        raw = model.predict("serving_default", prepare(photos[:number], read_description(contract).input))
        described = Contract.from_json(model.predict("describe", np.zeros(1, np.int32))["contract"][0])
    assert raw["boxes"].shape == (number, 64, 7)
    assert described.max_batch_rows == (fixed or 16)
    assert all(len(row) for row in alone)


@pytest.mark.process
def test_an_open_size_becomes_the_contract_s(contract: Path, tmp_path: Path) -> None:
    """The TF2 zoo's inputs are [1, None, None, 3]."""
    from exporter.versions.verify import SessionModel

    write_simple_save(tmp_path / "saved", rows=1, any_size=True)
    photos = images(2)

    folder = export_described("savedmodel", tmp_path / "saved", contract, tmp_path / "models")

    with SessionModel(folder) as model:
        (entry,) = model.signatures["serving_default"].inputs.values()
        assert [size.size for size in entry.tensor_shape.dim] == [-1, 32, 64, 3]
        assert_same(
            expected(tmp_path / "saved", contract, photos), rows(model.predict("detect", photos)), threshold=0.25
        )


@pytest.mark.process
def test_a_keras_model_of_a_fixed_batch(contract: Path, tmp_path: Path) -> None:
    """Keras does not hold its batch in shapes."""
    import keras
    from keras import layers

    from exporter.versions.verify import SessionModel

    keras.utils.set_random_seed(1)
    entry = keras.Input(batch_shape=(1, 32, 64, 3), name="images")
    x = layers.Conv2D(14, 8, strides=8, activation="sigmoid")(entry)
    model = keras.Model(entry, layers.Activation("sigmoid", name="boxes")(layers.Reshape((64, 7))(x)))
    model.save(tmp_path / "model.keras")
    photos = images(2)

    folder = export_described("keras", tmp_path / "model.keras", contract, tmp_path / "models")

    description = read_description(contract)
    prepared = prepare(photos, description.input)
    alone = [decode({"boxes": model(prepared[row : row + 1]).numpy()}, description)[0] for row in range(2)]
    with SessionModel(folder) as exported:
        assert exported.fixed_rows("serving_default") is None
        assert_same(alone, rows(exported.predict("detect", photos)), threshold=0.25)


@pytest.mark.process
def test_a_large_model_keeps_its_batch_and_its_variables(
    contract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph is not copied to be rewritten; the source is then compared in batches of its own."""
    from exporter.versions.verify import SessionModel

    monkeypatch.setattr("exporter.graph.wrapping._FREEZE_BELOW", 0)
    write_simple_save(tmp_path / "saved", rows=1)
    folder = export_described("savedmodel", tmp_path / "saved", contract, tmp_path / "models")
    photos = images(3)

    assert (folder / "variables" / "variables.index").exists()
    with SessionModel(folder) as model:
        assert model.fixed_rows("serving_default") == 1
        assert_same(
            expected(tmp_path / "saved", contract, photos), rows(model.predict("detect", photos)), threshold=0.25
        )
    verified = export_command("models", "verify", "yolo", "--source", tmp_path / "saved", "--models", folder.parents[1])
    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout.startswith("8 images, ")


@pytest.mark.parametrize(
    ("tail", "opens"), [("shapes", True), ("unstacked", False), ("mixing", False), ("blind", False)]
)
def test_a_batch_is_opened_only_if_it_is_seen_to_work(
    contract: Path, tmp_path: Path, tail: Tail, *, opens: bool
) -> None:
    """A graph that mixes its images, cannot take several, or tells nothing about them, is left as it is."""
    import tensorflow as tf

    from exporter.graph.open_batch import open_batch

    write_simple_save(tmp_path / "saved", rows=1, tail=tail, constant=True)
    model = load_savedmodel(tmp_path / "saved", read_description(contract))

    opened = open_batch(model.call, (1, 32, 64, 3), tf.float32, images(3) / np.float32(255))

    assert (opened is not None) == opens


def test_another_size_is_refused(tmp_path: Path) -> None:
    """A fixed batch does not hide that the images are others than the model's."""
    write_simple_save(tmp_path / "saved", rows=1)
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT.replace("input_width = 64", "input_width = 32"))

    with pytest.raises(ExportError, match=r"takes images of the shape \(1, 32, 64, 3\)"):
        export_described("savedmodel", tmp_path / "saved", tmp_path / "contract.toml", tmp_path / "models")
    assert not (tmp_path / "models").exists()
