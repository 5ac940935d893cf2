"""The gRPC server: map each method to a function and each exception to a status. Messages are passed on as bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from serving.server.calls import logged_status
from serving.server.errors import truncated
from serving.server.rpc.inference import InferenceService
from serving.server.rpc.model_service import ModelService
from serving.server.rpc.prediction import PredictionService, parse
from serving.wire.protos import (
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    GetModelMetadataRequest,
    GetModelStatusRequest,
)

Call = Callable[[bytes, grpc.ServicerContext], bytes]

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.so_reuseport", 0),  # two servers must not share a port by mistake
)


def default_threads(*, batching: bool) -> int:
    """Return the number of calls that run at a time: TF Serving's grpc_max_threads, or 512 with batching.

    With batching, a call occupies its thread while it waits for its batch. A waiting thread costs a few kB. With too
    few threads, a batch queue would never be full.
    """
    return 512 if batching else max(8, 4 * (os.cpu_count() or 1))


def make_server(
    prediction: PredictionService,
    inference: InferenceService,
    models: ModelService,
    *,
    threads: int,
    options: tuple[tuple[str, str | int], ...] = (),
) -> grpc.Server:
    """Create a gRPC server with PredictionService and ModelService. It does not listen on a port yet."""
    server = grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="call"), options=(*_OPTIONS, *options))
    calls: dict[str, dict[str, Call]] = {
        PREDICTION_SERVICE: {
            "Predict": lambda content, context: prediction.predict(content, _deadline(context)),
            "GetModelMetadata": lambda content, _: prediction.metadata(
                parse(GetModelMetadataRequest, content)
            ).SerializeToString(),
            "Classify": lambda content, context: inference.classify(content, _deadline(context)),
            "Regress": lambda content, context: inference.regress(content, _deadline(context)),
            "MultiInference": lambda content, context: inference.multi_inference(content, _deadline(context)),
        },
        MODEL_SERVICE: {
            "GetModelStatus": lambda content, _: models.status(
                parse(GetModelStatusRequest, content)
            ).SerializeToString(),
            "HandleReloadConfigRequest": lambda content, context: models.handle_reload_config_request(
                content, context.is_active
            ),
        },
    }
    for service, methods in calls.items():
        handlers = {name: _handler(call) for name, call in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return server


def _handler(call: Call) -> grpc.RpcMethodHandler[bytes, bytes]:
    def answer(content: bytes, context: grpc.ServicerContext) -> bytes:
        if not context.is_active():  # the caller canceled while the call waited for a thread
            return b""
        try:
            return call(content, context)
        except Exception as error:  # noqa: BLE001 - a caller gets a status, never a traceback
            status = logged_status(error)
        context.abort(status.code, truncated(status.message))
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(answer, None, None)


def _deadline(context: grpc.ServicerContext) -> float | None:
    """Return the deadline of a call in the seconds of `time.monotonic`, or None if it has none."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
