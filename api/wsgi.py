"""The composition root of the API: real settings, real backend. `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

import sys

import structlog

from api.app import create_app
from workers.backend import open_backend
from workers.keys import mask_keys
from workers.settings import load_settings

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
        lambda _logger, _method, line: mask_keys(str(line)),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)

settings = load_settings()
app = create_app(settings, open_backend(settings))
