"""Shared parts of all HTTP responses: headers, problems, streaming, waiting, telemetry."""
