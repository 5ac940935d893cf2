from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from exporter.errors import ExportError
from exporter.weights.model_code import refuse_config_code, refuse_graph_code

HARMLESS = {"class_name": "Conv2D", "module": "keras.layers", "config": {"name": "conv", "module": "free text"}}
CODE = [
    {"class_name": "Lambda", "module": "keras.layers", "config": {"function": {"class_name": "__lambda__"}}},
    {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}},  # Keras 2: marshalled bytes
    {"class_name": "system", "module": "os", "config": {}},
    {"class_name": "function", "module": "builtins", "config": "exec"},
    {"class_name": "Layer", "module": "keras_evil.layers", "config": {}},
]


def config(layer: dict[str, Any]) -> str:
    """A model of two layers, the second of them nested as deep as an initialiser."""
    hidden = {**HARMLESS, "config": {"initializer": [{"deep": layer}]}}
    return json.dumps({"class_name": "Functional", "module": "keras", "config": {"layers": [HARMLESS, hidden]}})


def keras3(path: Path, layer: dict[str, Any]) -> None:
    """A `.keras` file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config(layer))


def legacy(path: Path, layer: dict[str, Any]) -> None:
    """A whole model's `.h5`."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config(layer)


@pytest.mark.parametrize("write", [keras3, legacy])
@pytest.mark.parametrize("layer", CODE)
def test_code_is_refused_wherever_it_hides(tmp_path: Path, write: Any, layer: dict[str, Any]) -> None:
    """Keras would run it while it loads the model, so nothing of Keras has seen the file yet."""
    write(tmp_path / "model", layer)

    with pytest.raises(ExportError, match="--trust-model-code") as refused:
        refuse_config_code(tmp_path / "model")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("write", [keras3, legacy])
def test_keras_own_layers_pass(tmp_path: Path, write: Any) -> None:
    """And text that only looks like a module's name."""
    write(tmp_path / "model", HARMLESS)

    refuse_config_code(tmp_path / "model")


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(HARMLESS))


def _weights_only(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]


def _no_config(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"")


@pytest.mark.parametrize("write", [_pickled, _weights_only, _no_config, lambda path: None])  # noqa: ARG005 - no file
def test_what_is_no_whole_model_is_refused(tmp_path: Path, write: Any) -> None:
    """A pickle above all: it is code."""
    write(tmp_path / "model")

    with pytest.raises(ExportError, match="no whole Keras model"):
        refuse_config_code(tmp_path / "model")


def graph(folder: Path, operation: str, *, inside: bool, **attributes: bytes) -> None:
    """A SavedModel with one operation, in its graph or in a function of it."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    graph_def = saved.meta_graphs.add().graph_def
    node = (graph_def.library.function.add().node_def if inside else graph_def.node).add(name="x", op=operation)
    for name, value in attributes.items():
        node.attr[name].s = value
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("operation", "attributes"),
    [
        ("PyFunc", {}),
        ("EagerPyFunc", {}),
        ("ReadFile", {}),
        ("WriteFile", {}),
        ("MatchingFiles", {}),
        ("TFRecordDatasetV2", {}),
        ("WholeFileReaderV2", {}),
        ("SaveDataset", {}),
        ("CreateSummaryFileWriter", {}),
        ("PrintV2", {"output_stream": b"file:///tmp/x"}),
    ],
)
def test_a_graph_that_reaches_out_is_refused(
    tmp_path: Path, operation: str, attributes: dict[str, bytes], *, inside: bool
) -> None:
    """Wherever the operation stands."""
    graph(tmp_path, operation, inside=inside, **attributes)

    with pytest.raises(ExportError, match=rf"touches files \({operation}\).*--trust-model-code"):
        refuse_graph_code(tmp_path)


@pytest.mark.parametrize("operation", ["Conv2D", "SaveV2", "RestoreV2", "PrintV2", "HashTableV2", "TensorDataset"])
def test_a_graph_s_ordinary_operations_pass(tmp_path: Path, operation: str) -> None:
    """What saves and restores variables stands in every model."""
    graph(tmp_path, operation, inside=False, output_stream=b"stderr")

    refuse_graph_code(tmp_path)
