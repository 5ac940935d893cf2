"""Write a SavedModel whose weights are constants in one graph, shared by all its signatures.

TF Serving's TF1 session loader accepts frozen graphs. TensorFlow's optimiser grappler folds and fuses constants but not
variables, so this form is faster for a small model. A session runs only the nodes that a signature's outputs need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from exporter.graph.signatures import Signature

_SHARED_FROM_BYTES = 1024


def write_frozen(folder: Path, signatures: Sequence[Signature]) -> None:
    """Write a SavedModel with `signatures` into `folder`, which must not exist yet.

    Sizes that a signature leaves open stay open.
    """
    # Each signature is traced alone: in one trace, a stateful call of one would wait for stateful calls of another.
    merged = graph_pb2.GraphDef()
    shared: set[str] = set()
    frozen = []
    for signature in signatures:
        function, keys = _freeze(signature)
        _merge(merged, function.graph.as_graph_def(), signature.name, shared)
        frozen.append((signature, function, keys))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(merged, name="")

        def describe(scope: str, tensor: tf.Tensor) -> tf.compat.v1.TensorInfo:
            return tf.compat.v1.saved_model.build_tensor_info(graph.get_tensor_by_name(f"{scope}/{tensor.name}"))

        definitions = {
            signature.name: tf.compat.v1.saved_model.build_signature_def(
                {signature.input_name: describe(signature.name, function.inputs[0])},
                {key: describe(signature.name, output) for key, output in zip(keys, function.outputs, strict=True)},
                tf.compat.v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
            )
            for signature, function, keys in frozen
        }
        with tf.compat.v1.Session(graph=graph) as session:
            builder = tf.compat.v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session, [tf.saved_model.SERVING], definitions, strip_default_attrs=True
            )
            builder.save()


def _freeze(signature: Signature) -> tuple[Any, list[str]]:
    """Trace a signature and replace its variables by constants. Return the function and its output names in order."""

    def named(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # Without identity, an output that is an input or another output too would not be a separate tensor.
        return {key: tf.identity(tensor) for key, tensor in signature.function(images).items()}

    traced = tf.function(named).get_concrete_function(signature.spec())
    # TensorFlow flattens a dictionary in the order of its sorted keys.
    return convert_variables_to_constants_v2(traced, lower_control_flow=False), sorted(traced.structured_outputs)


def _merge(into: graph_pb2.GraphDef, graph: graph_pb2.GraphDef, scope: str, shared: set[str]) -> None:
    """Add a graph to `into` under a scope. Large constants that an earlier graph has added are not added again."""
    names = {node.name: f"{scope}/{node.name}" for node in graph.node}
    for node in graph.node:
        if key := _shared_name(node):
            names[node.name] = key
    for node in graph.node:
        name = names[node.name]
        if name in shared:
            continue
        if not name.startswith(f"{scope}/"):
            shared.add(name)
        copy = into.node.add()
        copy.CopyFrom(node)
        copy.name = name
        del copy.input[:]
        copy.input.extend(_renamed(reference, names) for reference in node.input)
        copy.attr.pop("_class", None)  # it names nodes to place on the same device, which have new names now
    known = {function.signature.name for function in into.library.function}
    into.library.function.extend(f for f in graph.library.function if f.signature.name not in known)
    into.versions.CopyFrom(graph.versions)


def _shared_name(node: node_def_pb2.NodeDef) -> str | None:
    """Return a name that equal constants share, or None for a node that is not shared.

    A constant with a control input belongs to one frame of a loop, and small constants save nothing.
    """
    if node.op != "Const" or node.input or node.attr["value"].ByteSize() < _SHARED_FROM_BYTES:
        return None
    value = node.attr["value"].SerializeToString(deterministic=True)
    return f"weights/{hashlib.sha256(value).hexdigest()[:32]}"


def _renamed(reference: str, names: dict[str, str]) -> str:
    """Return a node's input (`name`, `name:1` or `^name`) with the new name of the node."""
    mark = "^" if reference.startswith("^") else ""
    name, colon, number = reference.removeprefix("^").partition(":")
    return f"{mark}{names[name]}{colon}{number}"
