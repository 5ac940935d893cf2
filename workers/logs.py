"""Structured logs, to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import structlog


def configure_logs(level: str = "INFO", mask: Callable[[str], str] = str) -> None:
    """Have structlog and the standard library write one line an event to stderr; structlog's go through `mask`."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
            lambda _logger, _method, line: mask(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
