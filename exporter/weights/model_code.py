"""Find code in model files before they are loaded. Code only runs if the user allows it with --trust-model-code."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from exporter.errors import ExportError
from exporter.weights.keras2 import unreadable

_ADVICE = "it was not run. If you trust whoever made the file, add --trust-model-code"
_CODE_CLASSES = frozenset({"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda"})
_PYTHON_OPERATION = re.compile(r"(?:Eager)?PyFunc(?:Stateless)?")
_FILE_OPERATION = re.compile(
    r"(?:ReadFile|WriteFile|MatchingFiles|ImmutableConst|DebugIdentity"
    r"|(?:WholeFile|TextLine|TFRecord|FixedLengthRecord)(?:Reader|Dataset)"
    r"|(?:Save|Load|Snapshot|Cache|Sql|LMDB|SSTable)(?:Dataset)|LMDBReader|CreateSummary(?:File|Db)Writer)(?:V\d)?"
)


def refuse_config_code(path: Path) -> None:
    """Raise ExportError if the config of a whole Keras model contains a Lambda or names a class outside Keras.

    Keras imports any module that a config names. Raises ExportError too if the file is not a whole Keras model.
    """
    for node in config_objects(keras_config(path)):
        if node.get("class_name") in _CODE_CLASSES:
            raise ExportError(f"{path} holds code (a {node['class_name']} layer): {_ADVICE}.")
    for module, name in foreign_classes(path):
        if module.partition(".")[0] == "tf_keras":
            raise unreadable(path, keras_version(path), f"it names {module}.{name}")
        # Keras imports its own packages itself.
        more = "" if module.startswith("keras_") else f" --import {module.replace('__main__', 'MODULE')}"
        raise ExportError(f"{path} names code outside Keras ({module}.{name}): {_ADVICE}{more}.")


def foreign_classes(path: Path) -> list[tuple[str, str]]:
    """Return the module and the name of each class or function outside Keras that a whole model's config names.

    Files of Keras 2 mostly name no modules. Raises ExportError if the file is not a whole Keras model.
    """
    named = [
        (str(node["module"]), str(node["class_name"]))
        for node in config_objects(keras_config(path))
        if _names_class(node)
    ]
    return [(module, name) for module, name in named if module.partition(".")[0] != "keras"]


def _names_class(node: dict[str, Any]) -> bool:
    return "class_name" in node and node.get("module") is not None


def keras_version(path: Path) -> str:
    """Return the version of Keras that saved a whole model, or '' if the file does not say it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path, "r") as file:
            version = file.attrs["keras_version"]
            return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return ""


def refuse_graph_code(folder: Path) -> None:
    """Raise ExportError if a SavedModel's graph calls Python or reads or writes files, or if it cannot be parsed."""
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415 - the other check needs no TensorFlow

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's own error type differs between its implementations
        raise ExportError(f"{folder} is no SavedModel: its saved_model.pb is damaged.") from error
    for meta in saved.meta_graphs:
        nodes = [node for function in meta.graph_def.library.function for node in function.node_def]
        operations = {node.op for node in (*nodes, *meta.graph_def.node) if _reaches_out(node)}
        if operations:
            raise ExportError(f"{folder} calls Python or touches files ({', '.join(sorted(operations))}): {_ADVICE}.")


def _reaches_out(node: Any) -> bool:  # noqa: ANN401 - TensorFlow's NodeDef
    """Return True if an operation calls Python or accesses files.

    The operations that save and restore variables do not count, because every model has them.
    """
    if node.op == "PrintV2":
        return bool(node.attr["output_stream"].s.startswith(b"file:"))
    return bool(_PYTHON_OPERATION.fullmatch(node.op) or _FILE_OPERATION.fullmatch(node.op))


def keras_config(path: Path) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the config of a whole Keras model. Raises ExportError if the file is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        raise ExportError(
            f"{path} is no whole Keras model, or is damaged: name a .keras file, or an .h5 file of model.save."
        ) from error


def config_objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - whatever JSON holds
    """Yield every object in a JSON value. There is no recursion: a config may be nested deeper than Python's limit."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
