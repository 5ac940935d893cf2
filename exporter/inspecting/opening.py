"""Open a model to be inspected: its facts, and a function that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2

from exporter.errors import ExportError, ModelNotRunError
from exporter.inspecting.facts import Finding, Hints, ModelFacts, SignatureFacts, TensorFacts
from exporter.models.described_export import load_network
from exporter.models.keras_models import output_names
from exporter.models.savedmodels import load_signature
from exporter.weights.model_code import keras_version, refuse_graph_code

Run = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]

_SCALES: Final = (255.0, 127.5, 1 / 255, 2 / 255, 1 / 127.5)


def open_savedmodel_facts(path: Path, hints: Hints) -> ModelFacts:
    """Read the facts of a SavedModel from its graph, without loading it. Raises ExportError if it cannot be parsed."""
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
        meta = next((each for each in saved.meta_graphs if "serve" in each.meta_info_def.tags), saved.meta_graphs[0])
    except Exception as error:  # protobuf's own error type differs between its implementations
        raise ExportError(f"{path} is no SavedModel: its saved_model.pb is damaged or empty.") from error
    signatures = tuple(
        SignatureFacts(name, _tensors(definition.inputs), _tensors(definition.outputs))
        for name, definition in sorted(meta.signature_def.items())
        if not name.startswith("__")
    )
    if not signatures:
        raise ExportError(
            f"{path} has no signature, so nothing says what it takes: save it again with `signatures=`, or a Keras "
            "model with `model.export`."
        )
    findings = dict(hints.findings)
    if "scale" not in findings and (scale := _scale_in_graph(meta.graph_def)):
        why = f"the model scales pixels itself: its graph has the constant {scale:.4g}"
        findings["scale"] = Finding("input", "scale", [1, 1, 1], why)
    kind = _kind(path, meta)
    return ModelFacts(path, kind, "savedmodel", signatures, Hints(hints.labels, hints.labels_file, findings))


def _kind(path: Path, meta: Any) -> str:  # noqa: ANN401 - TensorFlow's MetaGraphDef
    version = meta.meta_info_def.tensorflow_version or "of an unknown version"
    names = {name for each in meta.signature_def.values() for name in each.outputs}
    if (path / "metadata.yaml").is_file():
        return f"a SavedModel that Ultralytics wrote, TensorFlow {version}"
    if not meta.HasField("object_graph_def"):
        return f"a SavedModel of TensorFlow 1 ({version})"
    if "detection_multiclass_scores" in names:
        return f"a SavedModel of the TF2 Object Detection API, TensorFlow {version}"
    if (path / "keras_metadata.pb").is_file():
        return f"a SavedModel that Keras 2 wrote, TensorFlow {version}"
    return f"a SavedModel of TensorFlow {version}"


def _tensors(entries: Any) -> tuple[TensorFacts, ...]:  # noqa: ANN401 - a map of TensorFlow's TensorInfo
    return tuple(
        TensorFacts(
            name,
            None
            if entry.tensor_shape.unknown_rank
            else tuple(None if size.size < 0 else size.size for size in entry.tensor_shape.dim),
            tf.as_dtype(entry.dtype).name,
        )
        for name, entry in sorted(entries.items())
    )


def _scale_in_graph(graph: Any) -> float | None:  # noqa: ANN401 - TensorFlow's GraphDef
    """Return a constant of the graph by which bytes are scaled, as Keras' Rescaling and the zoo's models have it."""
    functions = [node for function in graph.library.function for node in function.node_def]
    for node in (*graph.node, *functions):
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor is None or tensor.tensor_shape.dim or tensor.dtype != tf.float32.as_datatype_enum:
            continue
        value = float(tf.make_ndarray(tensor))
        if any(np.isclose(value, scale, rtol=1e-5) for scale in _SCALES):
            return value
    return None


def savedmodel_run(facts: ModelFacts, *, trust_model_code: bool) -> Run:
    """Load a SavedModel and return a function that runs its signature on a batch of prepared images.

    Raises ExportError if its graph has untrusted code, if it does not load, or if it takes more than the images.
    """
    if not trust_model_code:
        refuse_graph_code(facts.path)
    signature = facts.signature
    if len(signature.inputs) != 1:
        raise ExportError(f"it takes {len(signature.inputs)} inputs")
    try:
        loaded = load_signature(facts.path, signature.name)
    except Exception as error:  # TensorFlow raises errors of any type
        raise ExportError(f"it does not load: {_first_line(error)}") from error
    (name,) = loaded.inputs
    return _by_batches(lambda batch: loaded.call(**{name: batch}), loaded.inputs[name].shape[0])


def open_keras(
    path: Path, hints: Hints, *, trust_model_code: bool, modules: Sequence[str]
) -> tuple[ModelFacts, Run | None]:
    """Load a whole Keras model; return its facts, and a function that runs it, None if it takes several inputs.

    Raises ExportError if the file has untrusted code or does not load.
    """
    network = load_network(path, trust_model_code=trust_model_code, modules=modules)
    inputs = tuple(_keras_tensor(entry) for entry in getattr(network, "inputs", None) or ())
    outputs = getattr(network, "outputs", None) or ()
    names = output_names(network, len(outputs))
    listed = tuple(TensorFacts(name, tuple(each.shape), each.dtype) for name, each in zip(names, outputs, strict=True))
    version = keras_version(path)
    facts = ModelFacts(
        path,
        f"a whole Keras model ({type(network).__name__}), saved by Keras {version or 'of an unknown version'}",
        "keras",
        (SignatureFacts("", inputs, listed),),
        hints,
    )
    if len(inputs) > 1:
        return facts, None

    def call(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        answered = network(batch, training=False)
        if isinstance(answered, dict):
            return {str(name): tensor for name, tensor in answered.items()}
        flat = tf.nest.flatten(answered)
        return dict(zip(output_names(network, len(flat)), flat, strict=True))

    return facts, _by_batches(call, inputs[0].shape[0] if inputs and inputs[0].shape else None)


def _keras_tensor(entry: Any) -> TensorFacts:  # noqa: ANN401 - Keras has no types
    return TensorFacts(str(entry.name), tuple(entry.shape), str(entry.dtype))


def _by_batches(call: Callable[[tf.Tensor], Any], rows: int | None) -> Run:
    """Return a function that runs any number of images, in batches of `rows` if the model takes only those."""

    def run(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        size = rows or len(images)
        answers = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), 0)])
            try:
                answered = call(tf.constant(filled))
            except Exception as error:  # TensorFlow and Keras raise errors of any type
                raise ModelNotRunError(
                    f"it does not take images of the shape {filled.shape}: {_first_line(error)}"
                ) from error
            answers.append({name: np.asarray(tensor)[: len(batch)] for name, tensor in answered.items()})
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    return run


def _first_line(error: Exception) -> str:
    with suppress(AttributeError):
        error = error.message  # type: ignore[attr-defined]  # of TensorFlow's errors, without the call stack
    lines = [line for line in re.split(r"[\r\n]+", str(error).strip()) if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__
