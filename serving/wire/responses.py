"""Check a model's response and convert it to the project's own types. Pure functions, without a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.boxes.answer_checks import check_counts, check_probabilities
from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.conventions import TF_OBJECT_DETECTION
from serving.errors import ContractError, ModelUnavailableError, RowsRejectedError, TensorError
from serving.wire.protos import GetModelMetadataResponse, PredictResponse, ProtoMessage, SignatureDefMap
from serving.wire.tensors import decode

DETECT_OUTPUTS: Final[tuple[str, ...]] = TF_OBJECT_DETECTION


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


def to_detections(outputs: Mapping[str, NDArray[Any]], rows: int) -> list[Detections]:
    """Convert the outputs of the signature `detect` to one Detections per row, best first.

    The outputs have the names of the TF Object Detection API and any numeric dtype: `detection_boxes` (N, K, 4),
    [ymin, xmin, ymax, xmax], normalised; `detection_scores` (N, K); `detection_classes` (N, K);
    `num_detections` (N), the number of valid detections of each row. N must be `rows`. Detections with values that are
    not finite are dropped and counted.

    Raises RowsRejectedError if an output is missing, not numeric or of a wrong shape, if a count is not in 0..K, or if
    a score is not in 0..1.
    """
    boxes, scores, classes, counts = (_numeric(outputs, alias) for alias in DETECT_OUTPUTS)
    if scores.ndim != 2 or len(scores) != rows:
        raise RowsRejectedError(f"detection_scores has the shape {scores.shape}; ({rows}, K) was expected.")
    max_detections = scores.shape[1]
    for alias, array, wanted in (
        ("detection_boxes", boxes, (rows, max_detections, 4)),
        ("detection_classes", classes, (rows, max_detections)),
        ("num_detections", counts, (rows,)),
    ):
        if array.shape != wanted:
            raise RowsRejectedError(f"{alias} has the shape {array.shape}; {wanted} was expected.")
    check_counts(counts, max_detections)
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
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    return Detections(
        boxes=boxes[order].astype(np.float32),
        scores=np.clip(scores[order], 0, 1).astype(np.float32),
        classes=classes[order].astype(np.int64),
        not_finite=len(keep) - len(scores),
    )
