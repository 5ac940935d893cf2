from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.weights.filling import require_same_layers, ssd300_classes
from exporter.weights.keras3_names import numbered_names
from exporter.weights.stored_weights import StoredWeights, open_weights
from tests.unit.exporter import weight_files


@pytest.fixture
def layers() -> dict[str, list[NDArray[Any]]]:
    """Twelve layers, so that a sort by text instead of by number would show."""
    rng = np.random.default_rng(0)
    return {
        f"conv_{number}": [rng.normal(size=(3, 3, 2, number + 1)), rng.normal(size=number + 1)] for number in range(12)
    } | {"norm": [rng.normal(size=5)]}


@pytest.mark.parametrize("form", weight_files.FORMS)
def test_every_form_is_read(tmp_path: Path, layers: dict[str, list[NDArray[Any]]], form: str) -> None:
    """By the layers' names, each layer's arrays in order, as float32; the optimizer's are no layer's."""
    weight_files.FORMS[form](tmp_path / form, layers)

    with open_weights(tmp_path / form) as stored:
        assert set(layers) == set(stored.layers)
        for name, arrays in layers.items():
            stored_arrays = stored.read(name)
            assert all(array.dtype == np.float32 for array in stored_arrays)
            for array, stored_array in zip(arrays, stored_arrays, strict=True):
                np.testing.assert_array_equal(array.astype(np.float32), stored_array)


def test_unnamed_layers_are_not_guessed(tmp_path: Path, layers: dict[str, list[NDArray[Any]]]) -> None:
    """The error asks for the file that names them."""
    weight_files.keras3(tmp_path / "w.weights.h5", layers, named=False)

    with pytest.raises(ExportError, match=r"export from the \.keras file"), open_weights(tmp_path / "w.weights.h5"):
        pass


def _not_hdf5(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    weight_files.keras2(path, {"conv": [np.ones((9, 9, 9, 9)), np.ones(9)]})
    path.write_bytes(path.read_bytes()[:5000])


def _other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.ones(3)


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")


def _external_link(path: Path) -> None:
    weight_files.keras2(path, {"conv": [np.ones((1, 1, 1, 1)), np.ones(1)]})
    with h5py.File(path, "a") as file:
        del file["conv/conv/bias:0"]
        file["conv/conv/bias:0"] = h5py.ExternalLink("other.h5", "/secret")


def _external_data(path: Path) -> None:
    weight_files.keras2(path, {"conv": [np.ones((1, 1, 1, 1)), np.ones(1)]})
    with h5py.File(path, "a") as file:
        del file["conv/conv/bias:0"]
        file["conv/conv"].create_dataset("bias:0", (1,), "f4", external=[("secret.bin", 0, 4)])


def _missing_dataset(path: Path) -> None:
    weight_files.keras2(path, {"conv": [np.ones((1, 1, 1, 1)), np.ones(1)]})
    with h5py.File(path, "a") as file:
        del file["conv/conv/bias:0"]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_not_hdf5, "no whole HDF5 or .keras file"),
        (_empty, "no whole HDF5 or .keras file"),
        (_truncated, "Cannot read weights"),
        (_other_hdf5, "holds no Keras weights"),
        (_other_zip, "without model.weights.h5"),
        (_external_link, "missing or a link"),
        (_external_data, "outside itself"),
        (_missing_dataset, "missing or a link"),
        (lambda path: None, "No such file"),  # noqa: ARG005 - it makes no file
    ],
)
def test_what_is_no_weight_file_is_refused(tmp_path: Path, make: Any, complaint: str) -> None:
    """In one line; nothing in it is run, and no other file is read in its place."""
    path = tmp_path / "weights.h5"
    make(path)

    with pytest.raises(ExportError) as refused, open_weights(path):
        pass
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [np.array([1.0, np.nan]), np.array([np.inf]), np.array([1, 2]), np.array([b"x"])])
def test_weights_are_finite_numbers(tmp_path: Path, value: NDArray[Any]) -> None:
    """A model with NaN in it answers nothing, and says nothing of it."""
    weight_files.keras2(tmp_path / "w.h5", {"norm": [value]})

    with open_weights(tmp_path / "w.h5") as stored, pytest.raises(ExportError, match="norm are not all finite"):
        stored.read("norm")


def test_numbers_that_cannot_be_unpacked_are_an_error_like_any_other(tmp_path: Path) -> None:
    """A damaged file may open whole: the numbers themselves are read last."""
    path = tmp_path / "w.h5"
    weight_files.keras2(path, {"norm": [np.ones(1)]})
    with h5py.File(path, "a") as file:
        del file["norm/norm/gamma:0"]
        packed = file["norm/norm"].create_dataset("gamma:0", data=np.arange(9999.0), compression="gzip")
        place = packed.id.get_chunk_info(0).byte_offset
    with path.open("r+b") as damaged:
        damaged.seek(place)
        damaged.write(b"\xff" * 99)

    with open_weights(path) as stored, pytest.raises(ExportError, match="The weights of layer norm are damaged"):
        stored.read("norm")


def test_the_complaint_names_every_kind() -> None:
    """Missing, unexpected and wrong-shaped, in one line, and not all of a hundred."""
    wanted = {"a": ((1,),), "b": ((2,),), **{f"m{n}": ((1,),) for n in range(9)}}
    stored = {"b": ((3,),), "x": ((1,),)}

    with pytest.raises(ExportError) as refused:
        require_same_layers(wanted, stored)
    assert "missing: a, m0, m1, m2 and 6 more; unexpected: x; of another shape: b ((3,),) instead of ((2,),)" in str(
        refused.value
    )
    require_same_layers(wanted, wanted)


@pytest.mark.parametrize(("layer", "classes"), [("pool6_mbox_conf_flat", 21), ("pool6_mbox_conf_flat_9", 9)])
def test_the_class_count_is_told_from_the_file(layer: str, classes: int) -> None:
    """By the layer that scores the last map, six priors at once."""
    stored = StoredWeights({layer: (np.zeros((256, 6 * classes)), np.zeros(6 * classes))})

    assert classes == ssd300_classes(stored)


@pytest.mark.parametrize("shape", [(256, 55), (256, 6), (256,)])
def test_the_weights_of_another_network_are_no_ssd300(shape: tuple[int, ...]) -> None:
    """Even where a layer has the name."""
    with pytest.raises(ExportError, match="not SSD300's"):
        ssd300_classes(StoredWeights({"pool6_mbox_conf_flat": (np.zeros(shape),)}))
    with pytest.raises(ExportError, match="not SSD300's"):
        ssd300_classes(StoredWeights({}))


def test_groups_are_numbered_by_class() -> None:
    """As Keras does it: each class of layers counts for itself; a config of any other form names none."""
    kinds = [("InputLayer", "in"), ("Conv2D", "a"), ("MaxPooling2D", "p"), ("Conv2D", "b"), ("Custom>L2Normalize", "n")]
    config = {"config": {"layers": [{"class_name": kind, "config": {"name": name}} for kind, name in kinds]}}

    expected = {"input_layer": "in", "conv2d": "a", "max_pooling2d": "p", "conv2d_1": "b", "custom_l2_normalize": "n"}
    assert expected == numbered_names(config)
    assert numbered_names([]) == {}
