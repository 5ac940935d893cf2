"""What Classify and Regress ask of a signature, how tf.Examples go in, and what becomes of its outputs; pure.

Sources: TF Serving's classifier.cc, regressor.cc and util.cc, with their error messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import StatusError, failed_precondition, invalid_argument
from serving.wire.protos import ClassificationResult, ProtoMessage, RegressionResult
from serving.wire.tensors import dtype_name, dtype_number

Array = NDArray[Any]

_FLOAT, _STRING = 1, 7


def serialized_examples(given: ProtoMessage) -> Array:
    """Return the examples of an Input, each as the bytes of a tf.Example, as an object array (N,).

    A context's features are part of each example; those of the example count before them. Raises INVALID_ARGUMENT if
    there are no examples.
    """
    kind = given.WhichOneof("kind")
    examples = list(getattr(given, kind).examples) if kind else []
    if not examples:
        raise invalid_argument("Input is empty.")
    # Messages that are joined as bytes are merged: of a feature that comes twice, the last one counts.
    context = given.example_list_with_context.context.SerializeToString() if kind.endswith("context") else b""
    array = np.empty(len(examples), object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


class Method(ABC):
    """What a signature must be like for a method, and the result that its outputs are turned into."""

    name: ClassVar[str]  # the method_name of the signature
    kind: ClassVar[str]  # its name in error messages
    api: ClassVar[str]  # its name in metrics

    def check_name(self, signature: ProtoMessage) -> None:
        """Raise INVALID_ARGUMENT if the signature is declared for another method."""
        if signature.method_name != self.name:
            raise invalid_argument(
                f"Expected {self.kind} signature method_name to be {self.name}. Was: {signature.method_name}"
            )

    def tensors(self, signature: ProtoMessage) -> tuple[str, list[str]]:
        """Return the name of the input tensor and those of the output tensors. Raises StatusError if it has others."""
        if len(signature.inputs) != 1:
            raise invalid_argument("Expected one input Tensor.")
        self._check_outputs(signature)
        if "inputs" not in signature.inputs:
            raise failed_precondition(f"No {self.kind} inputs found in SignatureDef: {signature}")
        return signature.inputs["inputs"].name, self._outputs(signature)

    @abstractmethod
    def result(self, signature: ProtoMessage, outputs: Mapping[str, Array], examples: int) -> ProtoMessage:
        """Return the result for `outputs`, the arrays by tensor name. Raises INVALID_ARGUMENT if they do not fit."""

    @abstractmethod
    def _check_outputs(self, signature: ProtoMessage) -> None: ...

    @abstractmethod
    def _outputs(self, signature: ProtoMessage) -> list[str]: ...


class Classification(Method):
    """Outputs `classes` (N, C) of strings, `scores` (N, C) of floats, or both."""

    name = "tensorflow/serving/classify"
    kind = "classification"
    api = "Classify"
    _dtypes: Final = {"classes": _STRING, "scores": _FLOAT}

    def result(self, signature: ProtoMessage, outputs: Mapping[str, Array], examples: int) -> ProtoMessage:
        """See Method. The result is a ClassificationResult."""
        arrays = {alias: outputs[signature.outputs[alias].name] for alias in self._dtypes if alias in signature.outputs}
        for alias, array in arrays.items():
            if array.ndim != 2:
                raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
            if dtype_number(array) != self._dtypes[alias]:
                wanted = _dtype(self._dtypes[alias])
                raise invalid_argument(f"Expected {alias} Tensor of {wanted}. Got: {_dtype(dtype_number(array))}")
            if len(array) != examples:
                raise invalid_argument(f"Expected {alias} output batch size of {examples}. Got: {len(array)}")
        classes, scores = (arrays.get(alias) for alias in self._dtypes)
        if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
            raise invalid_argument(
                f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
            )
        result = ClassificationResult()
        for row in range(examples):
            item = result.classifications.add()
            for column in range(next(iter(arrays.values())).shape[1]):
                added = item.classes.add()
                if classes is not None:
                    added.label = _text(classes[row, column])
                if scores is not None:
                    added.score = scores[row, column]
        return result

    def _check_outputs(self, signature: ProtoMessage) -> None:
        if len(signature.outputs) not in {1, 2}:
            raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")

    def _outputs(self, signature: ProtoMessage) -> list[str]:
        names = [signature.outputs[alias].name for alias in self._dtypes if alias in signature.outputs]
        if not names:
            raise failed_precondition(
                'Expected classification signature outputs to contain at least one of "classes" or "scores". '
                f"Signature was: {signature}"
            )
        return names


class Regression(Method):
    """One output, `outputs`: (N,) or (N, 1) of floats."""

    name = "tensorflow/serving/regress"
    kind = "regression"
    api = "Regress"

    def result(self, signature: ProtoMessage, outputs: Mapping[str, Array], examples: int) -> ProtoMessage:
        """See Method. The result is a RegressionResult."""
        array = outputs[signature.outputs["outputs"].name]
        if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
            raise invalid_argument(
                f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
            )
        if len(array) != examples:
            raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {len(array)}")
        if dtype_number(array) != _FLOAT:
            raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(dtype_number(array))}")
        result = RegressionResult()
        for value in array.ravel().tolist():
            result.regressions.add(value=value)
        return result

    def _check_outputs(self, signature: ProtoMessage) -> None:
        if len(signature.outputs) != 1:
            raise invalid_argument("Expected one output Tensor.")

    def _outputs(self, signature: ProtoMessage) -> list[str]:
        if "outputs" not in signature.outputs:
            raise failed_precondition(f"No regression outputs found in SignatureDef: {signature}")
        return [signature.outputs["outputs"].name]


CLASSIFICATION: Final = Classification()
REGRESSION: Final = Regression()
METHODS: Final[Mapping[str, Method]] = {method.name: method for method in (CLASSIFICATION, REGRESSION)}
"""The methods by their names."""


def _text(label: bytes | str) -> str:
    if isinstance(label, str):
        return label
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        raise _not_text(label) from error


def _not_text(label: bytes) -> StatusError:
    return invalid_argument(f"The class label {label!r} is not UTF-8, as the labels of a ClassificationResult must be")


def _shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _dtype(number: int) -> str:
    return f"DT_{dtype_name(number).upper()}"
