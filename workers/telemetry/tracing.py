"""Traces, from a request through the queue to the Predict call.

If tracing is off, nothing of OpenTelemetry is imported. A trace is passed on as its `traceparent` (W3C Trace Context):
in the job, and as metadata of the Predict call.
"""

from __future__ import annotations

from workers.settings import Settings
from workers.telemetry.spans import Tracer


def open_tracer(settings: Settings, service: str) -> Tracer:
    """Return the tracer of a process; `service` is the name that its traces show."""
    if not settings.tracing:
        return Tracer()
    from workers.telemetry.otel import OtlpTracer  # noqa: PLC0415  only if traces are on; the settings have checked the package

    return OtlpTracer.exporting(service)
