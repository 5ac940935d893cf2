"""Load a signature of a SavedModel, of TensorFlow 2 or of TensorFlow 1 with its reference variables."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from exporter.errors import ExportError

_REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2"})
_LARGE_FILE = 64 << 20
_LARGE_CONSTANT = 1 << 16


@dataclass(frozen=True)
class LoadedSignature:
    """A signature of a SavedModel.

    `inputs` holds shape and dtype of each input by name. `call` takes the inputs as keyword arguments and returns the
    outputs by name. `variable_bytes` is the size of the variables in bytes. `resources` are objects that must be saved
    with a function that uses `call`.
    """

    inputs: Mapping[str, tf.TensorSpec]
    call: Callable[..., Mapping[str, tf.Tensor]]
    variable_bytes: int
    resources: Sequence[Any]


def load_signature(source: Path, name: str) -> LoadedSignature:
    """Load a signature of the SavedModel in the folder `source`.

    Raises ExportError if it has no such signature. TensorFlow raises errors of any type if the file does not load.
    """
    if _needs_session(source):
        return _load_through_session(source, name)
    loaded = tf.saved_model.load(str(source))
    _require(name, loaded.signatures, source)
    function = loaded.signatures[name]
    return LoadedSignature(
        inputs=function.structured_input_signature[1],
        call=function,
        variable_bytes=sum(v.shape.num_elements() * v.dtype.size for v in function.graph.variables),
        resources=[loaded],
    )


def _require(name: str, names: Mapping[str, Any], source: Path) -> None:
    if name not in names:
        raise ExportError(f"{source} has no signature {name}, only {', '.join(names)}.")


def _needs_session(source: Path) -> bool:
    """Return whether TensorFlow 1 wrote the file, with what the TF2 loader does not do well.

    That loader does not restore the reference variables that `simple_save` wrote, and it copies large constants often.
    """
    path = source / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    if any(node.op in _REFERENCE_VARIABLES for meta in saved.meta_graphs for node in meta.graph_def.node):
        return True
    is_large = path.stat().st_size >= _LARGE_FILE
    return is_large and not any(meta.HasField("object_graph_def") for meta in saved.meta_graphs)


def _load_through_session(source: Path, name: str) -> LoadedSignature:
    """Load a signature through a TF1 session. Its variables and large constants become variables of TensorFlow 2."""
    needed, definition, read = _read(source, name)
    gc.collect()  # the graph of the session, which has cycles, holds all constants
    outputs = {alias: entry.name for alias, entry in definition.outputs.items()}
    handles = {node.name for node in needed.node if node.op == "VarHandleOp"}
    # Each value is dropped as soon as it is a variable: a large model is in memory once, not twice.
    variables = {key: tf.Variable(read.pop(key), trainable=False) for key in list(read)}
    _remove(needed, set(variables))
    inputs = {alias: entry.name for alias, entry in definition.inputs.items()}

    def build() -> None:
        values = {
            f"{key}:0": variable.handle if key in handles else variable.read_value()
            for key, variable in variables.items()
        }
        tf.graph_util.import_graph_def(needed, input_map=values, name="")

    whole = tf.compat.v1.wrap_function(build, [])
    tensor = whole.graph.get_tensor_by_name
    function = whole.prune(
        [tensor(inputs[alias]) for alias in inputs], {alias: tensor(output) for alias, output in outputs.items()}
    )
    holder = tf.Module()
    holder.kept = list(variables.values())
    return LoadedSignature(
        inputs={alias: tf.TensorSpec(tensor(full).shape, tensor(full).dtype) for alias, full in inputs.items()},
        call=lambda **given: function(*(given[alias] for alias in inputs)),
        variable_bytes=sum(v.shape.num_elements() * v.dtype.size for v in holder.kept),
        resources=[holder],
    )


def _read(source: Path, name: str) -> tuple[graph_pb2.GraphDef, Any, dict[str, NDArray[Any]]]:
    """Return the graph that a signature needs, its definition, and the values of its variables and large constants."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(source))
        _require(name, meta.signature_def, source)
        definition = meta.signature_def[name]
        operations = sorted({entry.name.partition(":")[0] for entry in definition.outputs.values()})
        needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), operations)
        return needed, definition, {n.name: _value(graph, session, n) for n in needed.node if _is_weight(n)}


def _is_weight(node: Any) -> bool:  # noqa: ANN401 - TensorFlow's NodeDef
    is_variable = node.op in _REFERENCE_VARIABLES or node.op == "VarHandleOp"
    return is_variable or (node.op == "Const" and node.ByteSize() >= _LARGE_CONSTANT)


def _value(graph: tf.Graph, session: Any, node: Any) -> NDArray[Any]:  # noqa: ANN401 - TensorFlow has no types
    """Return the value of a constant, or that a variable has in a session."""
    if node.op == "Const":
        constant: NDArray[Any] = tf.make_ndarray(node.attr["value"].tensor)
        node.attr.pop("value")
        return constant
    tensor = graph.get_tensor_by_name(f"{node.name}:0")
    if node.op == "VarHandleOp":
        tensor = tf.raw_ops.ReadVariableOp(resource=tensor, dtype=tf.as_dtype(node.attr["dtype"].type))
    value: NDArray[Any] = session.run(tensor)
    return value


def _remove(graph: graph_pb2.GraphDef, names: set[str]) -> None:
    """Remove nodes from a graph, with the control inputs and the placement of other nodes that name them."""
    kept = [node for node in graph.node if node.name not in names]
    for node in kept:
        node.attr.pop("_class", None)
        inputs = [reference for reference in node.input if not (reference[0] == "^" and reference[1:] in names)]
        del node.input[:]
        node.input.extend(inputs)
    nodes = graph_pb2.GraphDef(node=kept).node
    del graph.node[:]
    graph.node.extend(nodes)
