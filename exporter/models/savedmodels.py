"""Load a signature of a SavedModel, of TensorFlow 2 or of TensorFlow 1 with its reference variables."""

from __future__ import annotations

import gc
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from exporter.errors import ExportError
from exporter.models.large_constants import take_large_constants

_REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2"})
_VARIABLES = _REFERENCE_VARIABLES | {"VarHandleOp"}
_TABLE = re.compile("HashTable|LookupTable")
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

    Raises ExportError if it has no such signature or no values of its variables. TensorFlow raises errors of any type
    if the file does not load.
    """
    saved = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    operations = {node.op for meta in saved.meta_graphs for node in _nodes(meta.graph_def)}
    if operations & _VARIABLES and not (source / "variables" / "variables.index").is_file():
        raise ExportError(f"{source} has no variables/variables.index: copy the whole folder of the model.")
    if _needs_session(source, operations):
        return _load_through_session(source, saved, name)
    del saved
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


def _needs_session(source: Path, operations: set[str]) -> bool:
    """Return whether the file has what TensorFlow 2 does not load well.

    The TF2 loader does not restore the reference variables that `simple_save` wrote, and it copies large constants
    often. A file with tables is left to it, because a session would have to fill them.
    """
    is_large = (source / "saved_model.pb").stat().st_size >= _LARGE_FILE
    return bool(operations & _REFERENCE_VARIABLES) or (is_large and not any(map(_TABLE.search, operations)))


def _nodes(graph: graph_pb2.GraphDef) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _load_through_session(source: Path, saved: saved_model_pb2.SavedModel, name: str) -> LoadedSignature:
    """Load a signature through a TF1 session. Its variables and large constants become variables of TensorFlow 2."""
    constants = _take_constants(saved)
    needed, definition, read = _read(source, saved, name)
    del saved
    gc.collect()  # the graph of the session has cycles
    read |= {node.name: constants[node.name] for node in needed.node if node.name in constants}
    constants.clear()
    handles = {node.name for node in needed.node if node.op == "VarHandleOp"}
    # Each value is dropped as soon as it is a variable: a large model is in memory once, not twice.
    variables = {key: tf.Variable(read.pop(key), trainable=False) for key in list(read)}
    _remove(needed, set(variables))
    inputs = {alias: entry.name for alias, entry in definition.inputs.items()}

    def build() -> None:
        graph = tf.compat.v1.get_default_graph()
        values = {}
        for key, variable in variables.items():
            graph.watch_variable(variable)  # whoever saves the graph finds the variable by this
            values[f"{key}:0"] = graph.capture(variable.handle) if key in handles else variable.read_value()
        tf.graph_util.import_graph_def(needed, input_map=values, name="")

    whole = tf.compat.v1.wrap_function(build, [])
    tensor = whole.graph.get_tensor_by_name
    function = whole.prune(
        [tensor(inputs[alias]) for alias in inputs],
        {alias: tensor(entry.name) for alias, entry in definition.outputs.items()},
    )
    shapes = {alias: tf.TensorShape(entry.tensor_shape) for alias, entry in definition.outputs.items()}

    def call(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = function(*(given[alias] for alias in inputs))
        # A call of a function in the graph does not tell the shapes of what it returns.
        return {
            alias: tf.ensure_shape(output, shapes[alias]) if output.shape.rank is None else output
            for alias, output in outputs.items()
        }

    holder = tf.Module()
    holder.kept = list(variables.values())
    return LoadedSignature(
        inputs={alias: tf.TensorSpec(tensor(full).shape, tensor(full).dtype) for alias, full in inputs.items()},
        call=call,
        variable_bytes=sum(v.shape.num_elements() * v.dtype.size for v in holder.kept),
        resources=[holder],
    )


def _take_constants(saved: saved_model_pb2.SavedModel) -> dict[str, NDArray[Any]]:
    """Take the large constants out of a file, and what a session does not need; return them by their placeholders."""
    constants: dict[str, NDArray[Any]] = {}
    for meta in saved.meta_graphs:
        meta.ClearField("object_graph_def")
        if tf.saved_model.SERVING in meta.meta_info_def.tags:
            constants = take_large_constants(meta.graph_def, _LARGE_CONSTANT)
            _rename_functions(meta.graph_def)
    return constants


def _rename_functions(graph: graph_pb2.GraphDef) -> None:
    """Give the functions of a graph names that no other function of this process has.

    TensorFlow numbers them per process, and refuses two functions with one name.
    """
    mark = uuid4().hex[:12]
    names = {function.signature.name: f"{function.signature.name}_{mark}" for function in graph.library.function}
    for node in _nodes(graph):
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            for function in [value.func] if value.HasField("func") else value.list.func:
                function.name = names.get(function.name, function.name)
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
    for gradient in graph.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)


def _read(
    source: Path, saved: saved_model_pb2.SavedModel, name: str
) -> tuple[graph_pb2.GraphDef, Any, dict[str, NDArray[Any]]]:
    """Return the graph that a signature needs, its definition, and the values of its variables.

    `saved` is the file in the folder `source`, without its large constants.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        tf.Graph().as_default() as graph,
        tf.compat.v1.Session(graph=graph) as session,
    ):
        for part in ("variables", "assets", "assets.extra"):
            if (source / part).is_dir():
                (Path(folder) / part).symlink_to((source / part).resolve())
        (Path(folder) / "saved_model.pb").write_bytes(saved.SerializeToString())
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], folder)
        _require(name, meta.signature_def, source)
        definition = meta.signature_def[name]
        operations = sorted({entry.name.partition(":")[0] for entry in definition.outputs.values()})
        needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), operations)
        return (
            needed,
            definition,
            {node.name: _value(graph, session, node) for node in needed.node if node.op in _VARIABLES},
        )


def _value(graph: tf.Graph, session: Any, node: Any) -> NDArray[Any]:  # noqa: ANN401 - TensorFlow has no types
    """Return the value that a variable has in a session."""
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
