"""A SavedModel whose weights are constants of one graph that all its signatures share.

TF Serving loads with the TF1 session loader. It accepts frozen graphs, and grappler folds and fuses constants, which it
cannot do with variables: the faster form for a small model. A session runs only what a signature's outputs need.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from exporter.signatures import Signature

_SCOPE = "shelfline"


def write_frozen(folder: Path, signatures: Sequence[Signature]) -> None:
    """Write a SavedModel with `signatures` into `folder`, which must not exist yet; the first dimension stays open."""

    def every(*inputs: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        return {
            signature.name: signature.function(tensor) for signature, tensor in zip(signatures, inputs, strict=True)
        }

    traced = tf.function(every).get_concrete_function(*(signature.spec() for signature in signatures))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    outputs = iter(frozen.outputs)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph.as_graph_def(), name=_SCOPE)

        def describe(tensor: tf.Tensor) -> tf.compat.v1.TensorInfo:
            return tf.compat.v1.saved_model.build_tensor_info(graph.get_tensor_by_name(f"{_SCOPE}/{tensor.name}"))

        # Nested dictionaries are flattened in the order of their sorted keys.
        names = {
            signature.name: sorted(traced.structured_outputs[signature.name])
            for signature in sorted(signatures, key=lambda signature: signature.name)
        }
        answers = {name: {key: describe(next(outputs)) for key in keys} for name, keys in names.items()}
        definitions = {
            signature.name: tf.compat.v1.saved_model.build_signature_def(
                {signature.input_name: describe(tensor)},
                answers[signature.name],
                tf.compat.v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
            )
            for signature, tensor in zip(signatures, frozen.inputs, strict=True)
        }
        with tf.compat.v1.Session(graph=graph) as session:
            builder = tf.compat.v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session, [tf.saved_model.SERVING], definitions, strip_default_attrs=True
            )
            builder.save()
