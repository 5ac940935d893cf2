"""The listening servers: gRPC on a port and a Unix socket, REST, health checks, metrics."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import grpc

from serving.server.calls import Calls
from serving.server.errors import SetupError
from serving.server.flags import Flags
from serving.server.metrics import Metrics
from serving.server.rpc.health import add_health
from serving.server.rpc.inference import InferenceService
from serving.server.rpc.model_service import ModelService
from serving.server.rpc.prediction import PredictionService
from serving.server.rpc.reflection import add_reflection
from serving.server.rpc.services import default_threads, make_server
from serving.server.versions.models import Models

_log = logging.getLogger(__name__)


class Front:
    """The gRPC and REST servers of the process. Nothing listens before `open`."""

    def __init__(self, flags: Flags, models: Models, metrics: Metrics, *, batching: bool) -> None:
        self._flags = flags
        self._models = models
        self._metrics = metrics
        self.calls = Calls(models, metrics)
        self._prediction = PredictionService(
            models, self.calls, as_content=flags.enable_serialization_as_tensor_content
        )
        self._inference = InferenceService(models, self.calls, checks_names=flags.enable_signature_method_name_check)
        self._status = ModelService(models)
        self._grpc = make_server(
            self._prediction,
            self._inference,
            self._status,
            threads=flags.grpc_max_threads or default_threads(batching=batching),
            options=flags.grpc_channel_arguments,
        )
        self._health: Any = add_health(self._grpc) if flags.enable_grpc_healthcheck_service else None
        add_reflection(self._grpc, health=self._health is not None)
        self._http: Any = None

    def open(self, rest_socket: socket.socket | None, tls: grpc.ServerCredentials | None) -> None:
        """Start to listen; gRPC by `tls` if it is given, also on the Unix socket, as in TF Serving.

        Raises SetupError if a port or the socket is not available.
        """
        flags = self._flags
        addresses = [f"{flags.host}:{flags.port}"] if flags.port else []
        if flags.grpc_socket_path:
            addresses.append(f"unix:{flags.grpc_socket_path}")
        try:
            for address in addresses:
                if tls is None:
                    self._grpc.add_insecure_port(address)
                else:
                    self._grpc.add_secure_port(address, tls)
        except RuntimeError as error:
            raise SetupError(str(error).partition("\n")[0]) from error
        self._grpc.start()
        _log.info("serving gRPC on %s%s", " and ".join(addresses), "" if tls is None else " by TLS")
        if rest_socket is not None:
            self._open_rest(rest_socket)

    def drain(self, seconds: float) -> None:
        """Refuse new calls and wait at most `seconds` for the running calls."""
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        stopped = self._grpc.stop(seconds)
        if self._http is not None:
            self._http.drain(seconds)
        stopped.wait(seconds + 0.5)

    def _open_rest(self, rest_socket: socket.socket) -> None:
        from serving.server.rest.http_server import HttpServer  # noqa: PLC0415 - only where there is a REST API
        from serving.server.rest.rest import RestApi  # noqa: PLC0415 - only where there is a REST API

        flags = self._flags
        threads = flags.rest_api_num_threads or 4 * (os.cpu_count() or 1)
        api = RestApi(
            self._models,
            self._prediction,
            self._inference,
            self._status,
            self.calls,
            timeout=flags.rest_api_timeout_in_ms / 1000 or float("inf"),
            threads=threads,
            metrics=self._metrics,
        )
        self._http = HttpServer(rest_socket, api, threads)
        self._http.start()
        _log.info("serving REST on %s:%d", flags.host, flags.rest_api_port)
