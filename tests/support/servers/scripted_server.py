"""A model server whose faults are scripted: real gRPC on the loopback interface, no TensorFlow behind it.

For faults that a real model cannot be made to have on demand. What a healthy model does is tested on the real one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from serving.contract import Contract
from serving.wire.protos import (
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
)
from serving.wire.tensors import decode, encode_response
from tests.support.machine import free_port
from tests.support.models import tiny_contract


class ScriptedServer:
    """Serves one model `default`; the attributes say how it behaves, and may be changed at any time."""

    def __init__(self, contract: Contract | None = None) -> None:
        self.contract = contract or tiny_contract()
        self.version = 1
        self.answered_as: tuple[str, int] | None = None  # model and version that an answer names; None: the true ones
        self.answer: Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]] | None] = lambda _images: None  # None: usual
        self.fault: Callable[[NDArray[np.uint8]], grpc.StatusCode | None] = lambda _images: None
        self.fault_message = "scripted"
        self.describe_fault: grpc.StatusCode | None = None
        self.batches: list[int] = []  # rows of each `detect` call
        self.traces: list[str] = []  # the `traceparent` of each `detect` call that came with one
        self.go = threading.Event()  # cleared: `detect` waits
        self.go.set()
        self.port = free_port()
        self.server: grpc.Server | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, always on the same port."""
        handlers = [
            grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(method)})
            for service, name, method in (
                (PREDICTION_SERVICE, "Predict", self._predict),
                (MODEL_SERVICE, "GetModelStatus", self._status),
            )
        ]
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self.server = grpc.server(ThreadPoolExecutor(4), handlers=handlers, options=options)
        assert self.server.add_insecure_port(self.target) == self.port
        self.server.start()

    def stop(self) -> None:
        """Be gone: calls under way are cut off."""
        if self.server is not None:
            self.go.set()
            self.server.stop(None).wait()
            self.server = None

    def _status(self, _content: bytes, _context: grpc.ServicerContext) -> bytes:
        response = GetModelStatusResponse()
        response.model_version_status.add(version=self.version, state=30)
        return bytes(response.SerializeToString())

    def _predict(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        request = PredictRequest.FromString(content)
        spec = PredictResponse().model_spec
        spec.name, spec.signature_name, spec.version.value = "default", request.model_spec.signature_name, self.version
        if request.model_spec.HasField("version") and request.model_spec.version.value != self.version:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(default, 1)")
        if self.answered_as is not None:
            spec.name, spec.version.value = self.answered_as
        if request.model_spec.signature_name == "describe":
            if self.describe_fault is not None:
                context.abort(self.describe_fault, "scripted")
            texts = np.array([self.contract.to_json().encode()], object)
            return encode_response(spec, {"contract": texts})
        images = decode(request.inputs["images"])
        self.batches.append(len(images))
        self.traces += [str(value) for name, value in context.invocation_metadata() if name == "traceparent"]
        self.go.wait(180)
        code = self.fault(images)
        if code is not None:
            context.abort(code, self.fault_message)
        return encode_response(spec, self.answer(images) or _detections(images))


def _detections(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """One detection a row, whose class tells the row's sum: an answer that belongs to its image alone."""
    sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
    return {
        "detection_boxes": np.tile(np.array([0.1, 0.2, 0.5, 0.6], np.float32), (len(images), 1, 1)),
        "detection_scores": np.full((len(images), 1), 0.9, np.float32),
        "detection_classes": (sums % 5 + 1).astype(np.float32)[:, None],
        "num_detections": np.ones(len(images), np.float32),
    }
