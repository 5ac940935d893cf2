"""Take large constants out of a graph, so that they can become variables: TensorFlow copies a graph often.

The export of a SavedModel with 262 MB of constants took 10.6 GB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2, op_def_pb2

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def take_large_constants(graph: graph_pb2.GraphDef, smallest: int) -> dict[str, NDArray[Any]]:
    """Replace constants of at least `smallest` bytes by placeholders at the top of the graph; return their values.

    The values are by the placeholders' names. Functions that need such a constant get it as a further argument, and so
    do the functions that call them. Constants in the branches and bodies of conditions and loops stay.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    taken = dict(_of_the_top(graph, smallest))
    own: dict[str, dict[str, str]] = {name: {} for name in functions}  # argument by the name of the constant
    values: dict[str, NDArray[Any]] = {}
    for name in functions.keys() - _fixed(graph, functions):
        for node in functions[name].node_def:
            if _is_large(node, smallest):
                argument = own[name][node.name] = f"large_constant_{len(values)}"
                values[argument] = tf.make_ndarray(node.attr["value"].tensor)
                node.attr["value"].Clear()
    needed = _needed(functions, {name: set(arguments.values()) for name, arguments in own.items()})
    for name, function in functions.items():
        _add_arguments(function, own[name], needed, values)
    _pass_on(graph.node, needed, values)
    for argument in sorted(values):
        graph.node.append(_placeholder(argument, values[argument]))
    return taken | values


def _is_large(node: node_def_pb2.NodeDef, smallest: int) -> bool:
    return bool(node.op == "Const" and node.ByteSize() >= smallest)


def _of_the_top(graph: graph_pb2.GraphDef, smallest: int) -> Iterator[tuple[str, NDArray[Any]]]:
    for node in graph.node:
        if _is_large(node, smallest):
            value = tf.make_ndarray(node.attr["value"].tensor)
            node.CopyFrom(_placeholder(node.name, value))
            yield node.name, value


def _placeholder(name: str, value: NDArray[Any]) -> node_def_pb2.NodeDef:
    node = node_def_pb2.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = _kind(value)
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
    return node


def _called(node: node_def_pb2.NodeDef, functions: Mapping[str, object]) -> str:
    """Return the name of the function that a node calls with the node's own inputs, or ''."""
    if node.op in functions:
        return str(node.op)
    return str(node.attr["f"].func.name) if node.op in _CALLS else ""


def _fixed(graph: graph_pb2.GraphDef, functions: dict[str, function_pb2.FunctionDef]) -> set[str]:
    """Return the functions whose arguments must stay: those of loops and conditions, and what these call."""
    pending: list[str] = []
    for node in (*graph.node, *(node for function in functions.values() for node in function.node_def)):
        if not _called(node, functions):
            pending += _named(node)
    fixed: set[str] = set()
    while pending:
        name = pending.pop()
        if name in functions and name not in fixed:
            fixed.add(name)
            pending += [
                other for node in functions[name].node_def for other in (_called(node, functions), *_named(node))
            ]
    return fixed


def _named(node: node_def_pb2.NodeDef) -> Iterator[str]:
    """Yield the names of the functions in a node's attributes."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


def _needed(functions: dict[str, function_pb2.FunctionDef], own: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return the constants that each function needs, itself or for the functions that it calls, in order."""
    needed = {name: set(arguments) for name, arguments in own.items()}
    calls = {
        name: {called for node in function.node_def if (called := _called(node, functions)) in functions}
        for name, function in functions.items()
    }
    changed = True
    while changed:
        changed = False
        for name, others in calls.items():
            more = set().union(*(needed[other] for other in others)) - needed[name]
            needed[name] |= more
            changed |= bool(more)
    return {name: sorted(arguments) for name, arguments in needed.items()}


def _add_arguments(
    function: function_pb2.FunctionDef,
    own: dict[str, str],
    needed: dict[str, list[str]],
    values: dict[str, NDArray[Any]],
) -> None:
    """Give a function the constants that it needs as arguments, in place of its own nodes and for what it calls."""
    arguments = needed[function.signature.name]
    for argument in arguments:
        function.signature.input_arg.append(op_def_pb2.OpDef.ArgDef(name=argument, type=_kind(values[argument])))
        if "_input_shapes" in function.attr:
            function.attr["_input_shapes"].list.shape.append(tf.TensorShape(values[argument].shape).as_proto())
    _pass_on(function.node_def, needed, values)
    if not own:
        return
    kept = [node for node in function.node_def if node.name not in own]
    for node in kept:
        inputs = [reference for reference in node.input if reference.removeprefix("^") not in own]
        del node.input[:]
        node.input.extend(_instead(reference, own) for reference in inputs)
    nodes = function_pb2.FunctionDef(node_def=kept).node_def
    del function.node_def[:]
    function.node_def.extend(nodes)
    for name, reference in function.ret.items():
        function.ret[name] = _instead(reference, own)


def _pass_on(
    nodes: Iterable[node_def_pb2.NodeDef], needed: dict[str, list[str]], values: Mapping[str, NDArray[Any]]
) -> None:
    """Give each node that calls a function the constants that the function needs, behind its other inputs."""
    for node in nodes:
        arguments = needed.get(_called(node, needed), [])
        if not arguments:
            continue
        inputs = [reference for reference in node.input if not reference.startswith("^")]
        controls = [reference for reference in node.input if reference.startswith("^")]
        del node.input[:]
        node.input.extend([*inputs, *arguments, *controls])
        if node.op in _CALLS:
            node.attr["Tin"].list.type.extend(map(_kind, (values[argument] for argument in arguments)))


def _kind(value: NDArray[Any]) -> int:
    return int(tf.as_dtype(value.dtype).as_datatype_enum)


def _instead(reference: str, own: dict[str, str]) -> str:
    """Return the argument that a function's reference to its constant (`name:output:0`) becomes, or the reference."""
    return own.get(reference.partition(":")[0], reference) if ":" in reference else reference
