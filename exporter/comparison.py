"""Runs the same images through a version in process and through a model server, and compares what they find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from exporter.errors import ExportError
from exporter.verify import SessionModel
from serving.contract import Contract

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_DETECT = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
_ROWS = 8
_TIMEOUT = 120


@dataclass(frozen=True)
class Comparison:
    """What differed: the largest differences of normalised box edges and of scores, and images with other labels."""

    images: int
    detections: int
    largest_box: float
    largest_score: float
    other_labels: int


def compare(folder: Path, contract: Contract, target: str, images: NDArray[np.uint8]) -> Comparison:
    """Compare a version's `detect` in process with a server's; raises ExportError where the server does not answer.

    `images` are uint8 (M, H, W, 3) RGB of the contract's size.
    """
    with SessionModel(folder) as model, grpc.insecure_channel(target, _OPTIONS) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        batches = [images[start : start + _ROWS] for start in range(0, len(images), _ROWS)]
        pairs = [
            (model.predict("detect", batch), _served(stub, contract.name, int(folder.name), batch)) for batch in batches
        ]
    boxes = scores = 0.0
    others = found = 0
    for one, other in pairs:
        for row, count in enumerate(one["num_detections"]):
            found += int(count)
            if not np.array_equal(one["detection_classes"][row], other["detection_classes"][row]):
                others += 1
                continue
            boxes = max(boxes, float(np.abs(one["detection_boxes"][row] - other["detection_boxes"][row]).max()))
            scores = max(scores, float(np.abs(one["detection_scores"][row] - other["detection_scores"][row]).max()))
    return Comparison(len(images), found, boxes, scores, others)


def served_versions(target: str, model: str) -> dict[int, str]:
    """The state of each version that a server knows; none where it does not know the model. Raises ExportError."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(target) as channel:
        try:
            answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=5)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise ExportError(f"The model server at {target} does not answer: {error.code().name}.") from error
    states = get_model_status_pb2.ModelVersionStatus.State
    return {one.version: states.Name(one.state) for one in answer.model_version_status}


def photos(contract: Contract, folder: Path | None) -> NDArray[np.uint8]:
    """The photos of a folder as the contract takes them, or seeded noise where none is given.

    Raises ExportError where the folder holds no photo.
    """
    size = (contract.input_width, contract.input_height)
    if folder is None:
        return np.random.default_rng(0).integers(0, 256, (_ROWS, size[1], size[0], 3), np.uint8)
    resample = Image.Resampling.NEAREST if contract.resize == "nearest" else Image.Resampling.BILINEAR
    images = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        try:
            with Image.open(path) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
        except (UnidentifiedImageError, OSError):
            continue
        images.append(np.asarray(upright.resize(size, resample)))
    if not images:
        raise ExportError(f"There is no photo in {folder}.")
    return np.stack(images)


def _served(stub: Any, model: str, version: int, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:  # noqa: ANN401
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = version
    request.model_spec.signature_name = "detect"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    try:
        outputs = stub.Predict(request, timeout=_TIMEOUT).outputs
    except grpc.RpcError as error:
        raise ExportError(
            f"The model server refused version {version}: {error.code().name}: {error.details()}"
        ) from error
    return {name: tf.make_ndarray(outputs[name]) for name in _DETECT}
