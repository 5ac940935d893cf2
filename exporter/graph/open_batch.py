"""Open the batch of a small model that takes batches of one size, by rewriting the shapes that its graph holds.

Nothing in a graph tells whether a 1 in a shape is the batch or not, so the rewritten graph is a guess. It is compared
with the model, on different images, alone and together; a guess that fails is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Call = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
Outputs = Mapping[str, NDArray[Any]]

_TOLERANCE: Final = 1e-4
"""How far an output may differ, as a share of its largest value: float32 rounds otherwise in another batch."""

_SHAPES: Final = {"Reshape": 1, "BroadcastTo": 1, "Fill": 0, "Slice": 2, "Conv2DBackpropInput": 0}
"""Operations with an input, of this number, that holds the size of the batch as its first value."""

_MAKERS: Final = frozenset({"Fill", "BroadcastTo"})
"""Those of them that make a tensor of constants, too."""


def open_batch(call: Call, shape: Sequence[int], dtype: tf.DType, images: NDArray[np.generic]) -> Call | None:
    """Return a function that computes the same as `call` for any number of images, or None if none was found.

    Args:
        call: takes images of `dtype` and `shape` and returns tensors by name, each with the batch as the first axis.
        shape: (rows, H, W, 3), the only shape that `call` takes.
        dtype: of the images.
        images: `dtype` (M, H, W, 3), M > 1, different images to compare on.
    """
    try:
        opened = _rewritten(call, shape, dtype)
        return opened if _agree(call, opened, shape[0], images) else None
    except Exception:  # noqa: BLE001 - a guess may make a graph that TensorFlow refuses in any way
        return None


def _rewritten(call: Call, shape: Sequence[int], dtype: tf.DType) -> Call:
    traced = tf.function(lambda images: dict(call(images))).get_concrete_function(tf.TensorSpec(shape, dtype))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    names = sorted(traced.structured_outputs)  # TensorFlow flattens a dictionary in the order of its sorted keys
    definition = _with_open_slices(frozen.graph, shape[0])
    sizes = _sizes_with_batch(frozen.graph, frozen.inputs[0].op, shape[0])

    def opened(images: tf.Tensor) -> list[tf.Tensor]:
        mapped = {frozen.inputs[0].name: images}
        for name, values in sizes.items():
            rows = tf.shape(images, out_type=tf.as_dtype(values.dtype))[:1]
            mapped[name] = tf.concat([rows, tf.constant(values[1:])], 0)
        outputs = [tensor.name for tensor in frozen.outputs]
        returned: list[tf.Tensor] = tf.graph_util.import_graph_def(
            definition, input_map=mapped, return_elements=outputs, name="opened"
        )
        return returned

    function = tf.compat.v1.wrap_function(opened, [tf.TensorSpec((None, *shape[1:]), dtype)])
    return lambda images: dict(zip(names, function(images), strict=True))


def _sizes_with_batch(graph: tf.Graph, source: tf.Operation, rows: int) -> dict[str, NDArray[Any]]:
    """Return the constant shapes, by name of the tensor, whose first value seems to be the size of the batch."""
    computed = _computed_from(source)
    sizes = {}
    for operation in graph.get_operations():
        place = _SHAPES.get(operation.type)
        if place is None or not (operation.type in _MAKERS or operation.inputs[0].op in computed):
            continue
        values = tf.get_static_value(operation.inputs[place])
        if values is not None and values.ndim == 1 and len(values) > 1 and values[0] == rows:
            sizes[operation.inputs[place].name] = values
    return sizes


def _computed_from(source: tf.Operation) -> set[tf.Operation]:
    """Return the operations that compute something from the output of `source`, itself included."""
    computed, pending = {source}, [source]
    while pending:
        following = {user for tensor in pending.pop().outputs for user in tensor.consumers()} - computed
        computed |= following
        pending += following
    return computed


def _with_open_slices(graph: tf.Graph, rows: int) -> graph_pb2.GraphDef:
    """Return the graph without stored shapes, in which a slice of the whole batch, 0 to `rows`, has no end."""
    definition = graph.as_graph_def()
    for node in definition.node:
        node.attr.pop("_output_shapes", None)
        if node.op != "StridedSlice" or node.attr["shrink_axis_mask"].i & 1:
            continue
        sliced, *bounds = graph.get_operation_by_name(node.name).inputs
        begin, end, strides = map(tf.get_static_value, bounds)
        if begin is None or end is None or strides is None or not len(end) or sliced.shape.rank == 1:
            continue
        if (begin[0], end[0], strides[0]) == (0, rows, 1):
            node.attr["end_mask"].i |= 1
    return definition


def _agree(call: Call, opened: Call, rows: int, images: NDArray[np.generic]) -> bool:
    """Return whether both functions compute the same, and what they compute differs from image to image."""
    wanted = [_run(call, np.repeat(image[None], rows, 0), 1) for image in images]
    alone = [_run(opened, image[None], 1) for image in images]
    together = _run(opened, images, len(images))
    for name in wanted[0]:
        columns = [outputs[name] for outputs in wanted]
        if columns[0].ndim > 1 and len({column.tobytes() for column in columns}) == 1:
            return False  # an output that is the same for each image would hide a mistake
        expected = np.concatenate(columns)
        for answer in (np.concatenate([outputs[name] for outputs in alone]), together[name]):
            largest = float(np.abs(expected).max(initial=1.0))
            if answer.shape != expected.shape or not np.allclose(answer, expected, rtol=0, atol=_TOLERANCE * largest):
                return False
    return True


def _run(call: Call, images: NDArray[np.generic], rows: int) -> Outputs:
    """Return the first `rows` rows of each output."""
    outputs = tf.function(lambda batch: dict(call(batch)))(tf.constant(images))
    return {name: np.asarray(output)[:rows] for name, output in outputs.items()}
