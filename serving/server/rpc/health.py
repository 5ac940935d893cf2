"""The service grpc.health.v1.Health, from the package grpcio-health-checking."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.wire.protos import MODEL_SERVICE, PREDICTION_SERVICE


def add_health(server: grpc.Server) -> Any:  # noqa: ANN401 - the package carries no types
    """Add the health service to a server and return its servicer.

    The server as a whole, PredictionService and ModelService are SERVING, and NOT_SERVING after the servicer's
    `enter_graceful_shutdown`. Watch calls do not use the threads that other calls need.
    """
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: PLC0415 - only where it is asked for

    servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(1))
    for service in (PREDICTION_SERVICE, MODEL_SERVICE):
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer
