"""Check a model's response and convert it to the project's own types. Pure functions, without a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.boxes.answer_checks import check_counts, check_probabilities, check_sides
from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.conventions import TF_OBJECT_DETECTION
from serving.errors import ContractError, ModelUnavailableError, RowsRejectedError, TensorError
from serving.wire.protos import GetModelMetadataResponse, PredictResponse, ProtoMessage, SignatureDefMap
from serving.wire.tensors import decode

DETECT_OUTPUTS: Final[tuple[str, ...]] = TF_OBJECT_DETECTION

_DETECTION_BYTES: Final = 60  # six numbers, the longest of which takes 10 bytes
_FILLED_UP: Final = 1000  # a model may fill its answer up to so many detections
_MORE_COLUMNS: Final = 16  # of a raw response: a box, an objectness, a background, a prior of eight numbers
_ENVELOPE_BYTES: Final = 1 << 16  # names and shapes


def parse_response(content: bytes) -> tuple[ProtoMessage, dict[str, NDArray[Any]]]:
    """Parse the bytes of a PredictResponse. Returns its ModelSpec and its arrays by output name.

    Raises RowsRejectedError if the bytes are not a PredictResponse or a tensor in it is malformed.
    """
    try:
        response = PredictResponse.FromString(content)
    except DecodeError as error:
        raise RowsRejectedError("The model server's answer is not a PredictResponse.") from error
    outputs = {}
    for alias, tensor in response.outputs.items():
        try:
            outputs[alias] = decode(tensor)
        except TensorError as error:
            raise RowsRejectedError(f"The model's output {alias} is malformed: {error}") from error
    return response.model_spec, outputs


def parse_signatures(content: bytes) -> dict[str, dict[str, tuple[int | None, ...]]]:
    """Return the shapes of the inputs of each signature, from the bytes of a GetModelMetadataResponse.

    A size that may differ from call to call is None, and the shape of a tensor of unknown rank is empty. Raises
    ModelUnavailableError if the bytes are not such a response.
    """
    signatures = SignatureDefMap()
    try:
        GetModelMetadataResponse.FromString(content).metadata["signature_def"].Unpack(signatures)
    except DecodeError as error:
        raise ModelUnavailableError("The model server's answer is not a GetModelMetadataResponse.") from error
    return {
        name: {
            alias: tuple(None if size.size < 0 else int(size.size) for size in entry.tensor_shape.dim)
            for alias, entry in signature.inputs.items()
        }
        for name, signature in signatures.signature_def.items()
    }


def to_contract(outputs: Mapping[str, NDArray[Any]]) -> Contract:
    """Return the contract from the outputs of the signature `describe`.

    `outputs` has `contract`, an array of bytes (N,), with the same JSON in each row. Raises ContractError if it is
    missing or invalid.
    """
    texts = outputs.get("contract")
    if texts is None or texts.size == 0 or not isinstance(texts.flat[0], bytes):
        raise ContractError(
            "The model's signature `describe` does not answer strings named `contract`: export it anew."
        )
    return Contract.from_json(texts.flat[0])


def check_spec(spec: ProtoMessage, model: str, version: int) -> None:
    """Raise RowsRejectedError if the ModelSpec of a response names another model or version than was asked for."""
    answered = spec.version.value if spec.HasField("version") else version
    if (spec.name or model, answered) != (model, version):
        raise RowsRejectedError(
            f"{spec.name or model} version {answered} answered; {model} version {version} was asked for. What stands "
            "between this client and the model server?"
        )


def max_response_bytes(contract: Contract, rows: int, *, raw: bool) -> int:
    """Return the largest size of a response of `rows` rows, in bytes, by the contract. More is refused unread.

    A `raw` response has a box for every fourth pixel of the input at most, as float32, with a score for each label id
    and some more. Another one has as many detections as the contract allows, or is filled up to 1000.
    """
    if raw:
        columns = max(label.id for label in contract.labels) + _MORE_COLUMNS
        of_a_row = contract.input_height * contract.input_width * columns
    else:
        of_a_row = max(contract.max_detections, _FILLED_UP) * _DETECTION_BYTES
    return rows * of_a_row + _ENVELOPE_BYTES


def to_detections(
    outputs: Mapping[str, NDArray[Any]], rows: int, max_detections: int | None = None
) -> list[Detections]:
    """Convert the outputs of the signature `detect` to one Detections per row, best first.

    The outputs have the names of the TF Object Detection API and any numeric dtype: `detection_boxes` (N, K, 4),
    [ymin, xmin, ymax, xmax], normalised; `detection_scores` (N, K); `detection_classes` (N, K);
    `num_detections` (N), the number of valid detections of each row. N must be `rows`. Detections with values that are
    not finite are dropped and counted.

    Raises RowsRejectedError if an output is missing, not numeric or of a wrong shape, if a count is not in 0..K or
    above `max_detections`, if a score is not in 0..1, or if a box ends before it begins.
    """
    boxes, scores, classes, counts = (_numeric(outputs, alias) for alias in DETECT_OUTPUTS)
    if scores.ndim != 2 or len(scores) != rows:
        raise RowsRejectedError(f"detection_scores has the shape {scores.shape}; ({rows}, K) was expected.")
    columns = scores.shape[1]
    for alias, array, wanted in (
        ("detection_boxes", boxes, (rows, columns, 4)),
        ("detection_classes", classes, (rows, columns)),
        ("num_detections", counts, (rows,)),
    ):
        if array.shape != wanted:
            raise RowsRejectedError(f"{alias} has the shape {array.shape}; {wanted} was expected.")
    check_counts(counts, columns if max_detections is None else min(columns, max_detections))
    return [
        _row(boxes[row, :count], scores[row, :count], classes[row, :count])
        for row, count in enumerate(counts.astype(np.int64).tolist())
    ]


def _numeric(outputs: Mapping[str, NDArray[Any]], alias: str) -> NDArray[Any]:
    array = outputs.get(alias)
    if array is None:
        raise RowsRejectedError(
            f"The model's answer has no {alias}: export it with Shelfline's exporter, or describe it in a TOML file."
        )
    if array.dtype.kind not in "fiu":
        raise RowsRejectedError(f"The model's output {alias} is not numeric.")
    return array


def _row(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any]) -> Detections:
    keep = np.isfinite(scores) & np.isfinite(boxes).all(axis=1) & np.isfinite(classes)
    boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    check_probabilities(scores)
    check_sides(boxes)
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    return Detections(
        boxes=boxes[order].astype(np.float32),
        scores=np.clip(scores[order], 0, 1).astype(np.float32),
        classes=classes[order].astype(np.int64),
        not_finite=len(keep) - len(scores),
    )
