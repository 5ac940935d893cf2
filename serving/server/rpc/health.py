"""grpc.health.v1.Health, by the well-kept package for it: the server as a whole, without names of services."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def add_health(server: grpc.Server) -> Any:  # noqa: ANN401 - the package carries no types
    """Answer health checks from now on: SERVING, and NOT_SERVING after `enter_graceful_shutdown` of what is returned.

    Those who watch take none of the threads that calls need.
    """
    from grpc_health.v1 import health, health_pb2_grpc  # noqa: PLC0415 - only where it is asked for

    servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer
