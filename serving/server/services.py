"""The gRPC rim: which method is which function, and what an exception becomes. Bytes pass through as they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from serving.protos import MODEL_SERVICE, PREDICTION_SERVICE
from serving.server.errors import StatusError, truncated
from serving.server.model_service import ModelService
from serving.server.prediction import PredictionService

_log = logging.getLogger(__name__)

Call = Callable[[bytes], bytes]

_NOT_DONE: Final = {
    PREDICTION_SERVICE: ("Classify", "Regress", "MultiInference"),
    MODEL_SERVICE: ("HandleReloadConfigRequest",),
}

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.so_reuseport", 0),  # two servers must not share a port by accident
)


def make_server(
    prediction: PredictionService, models: ModelService, options: tuple[tuple[str, str | int], ...] = ()
) -> grpc.Server:
    """A gRPC server with both services, not yet listening anywhere."""
    workers = max(8, 4 * (os.cpu_count() or 1))  # TF Serving's grpc_max_threads
    server = grpc.server(ThreadPoolExecutor(workers, thread_name_prefix="call"), options=(*_OPTIONS, *options))
    calls: dict[str, dict[str, Call]] = {
        PREDICTION_SERVICE: {"Predict": prediction.predict, "GetModelMetadata": prediction.get_model_metadata},
        MODEL_SERVICE: {"GetModelStatus": models.get_model_status},
    }
    for service, methods in calls.items():
        handlers = {name: _handler(call) for name, call in methods.items()}
        handlers |= {name: _handler(_refuse(name)) for name in _NOT_DONE[service]}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return server


def _handler(call: Call) -> grpc.RpcMethodHandler[bytes, bytes]:
    def answer(content: bytes, context: grpc.ServicerContext) -> bytes:
        if not context.is_active():  # its caller gave up while it queued for a thread
            return b""
        try:
            return call(content)
        except StatusError as error:
            code, message = error.code, error.message
        except Exception as error:  # noqa: BLE001 - a caller gets a status, never a traceback
            _log.exception("a call broke")
            code, message = grpc.StatusCode.INTERNAL, f"The model server failed: {type(error).__name__}"
        context.abort(code, truncated(message))
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(answer, None, None)


def _refuse(name: str) -> Call:
    def call(_content: bytes) -> bytes:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not implemented by the embedded model server")

    return call
