"""Load a SavedModel as TF Serving does and run it, so that a version that cannot be served is never published."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exporter.errors import ExportError
from serving.contract import Contract
from serving.conventions import TF_OBJECT_DETECTION


class SessionModel:
    """A SavedModel in a TF1 session, as TF Serving loads it. Use it in a `with` statement.

    This loader refuses some models that Python's TF2 loader accepts. Several threads may call `predict` at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(folder))
        self.signatures = {name: definition for name, definition in meta.signature_def.items() if definition.inputs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def fixed_rows(self, signature: str) -> int | None:
        """Return the number of rows that each call of a signature with one input must have, or None for any number."""
        (entry,) = self.signatures[signature].inputs.values()
        rows = entry.tensor_shape.dim[0].size if entry.tensor_shape.dim else -1
        return rows if rows > 0 else None

    def predict(self, signature: str, inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a signature with one input and return its outputs by name."""
        definition = self.signatures[signature]
        (entry,) = definition.inputs.values()
        outputs = {name: output.name for name, output in definition.outputs.items()}
        answer: dict[str, NDArray[Any]] = self._session.run(outputs, {entry.name: inputs})
        return answer


def verify(folder: Path, contract: Contract) -> None:
    """Load a SavedModel as TF Serving does, call `describe`, and call `detect` with two grey images.

    Raises ExportError if the model cannot be served, if its contract is not `contract`, or if the outputs of `detect`
    have other names or shapes than `contract` implies.
    """
    try:
        with SessionModel(folder) as model:
            described = [
                Contract.from_json(text) for text in model.predict("describe", np.zeros(2, np.int32))["contract"]
            ]
            images = np.full((2, contract.input_height, contract.input_width, 3), 128, np.uint8)
            answer = model.predict("detect", images)
    except ExportError:
        raise
    except Exception as error:  # TensorFlow raises errors of any type
        reason = " ".join(str(getattr(error, "message", error)).split()) or type(error).__name__
        raise ExportError(f"The exported model does not load as TF Serving loads it: {reason[:300]}") from error
    if described != [contract] * 2:
        raise ExportError("The exported model describes itself with another contract than the one it was given.")
    if set(answer) != set(TF_OBJECT_DETECTION) or answer["detection_boxes"].shape != (2, contract.max_detections, 4):
        raise ExportError(f"The exported model's `detect` answers {sorted(answer)} in an unexpected shape.")
