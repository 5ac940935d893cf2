"""Server reflection, from the package grpcio-reflection: tools such as grpcurl ask the server for its messages."""

from __future__ import annotations

import grpc

from serving.wire.protos import MODEL_SERVICE, POOL, PREDICTION_SERVICE

_HEALTH = "grpc.health.v1.Health"


def add_reflection(server: grpc.Server, *, health: bool) -> None:
    """Add the reflection service to a server. With `health`, the health service is described too."""
    from grpc_reflection.v1alpha import reflection, reflection_pb2  # noqa: PLC0415 - the server alone needs the package

    services = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
    packages = [reflection_pb2.DESCRIPTOR]
    if health:
        from grpc_health.v1 import health_pb2  # noqa: PLC0415 - only where it is asked for

        services.append(_HEALTH)
        packages.append(health_pb2.DESCRIPTOR)
    for file in packages:  # they are in the default pool, and the messages of TF Serving in a private one
        POOL.AddSerializedFile(file.serialized_pb)
    reflection.enable_server_reflection(services, server, pool=POOL)
