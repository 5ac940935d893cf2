"""Structured logs on stderr, one line per event, for a terminal or as JSON, with keys and tokens masked."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, Final

import structlog

from workers.settings import Settings
from workers.telemetry.masking import mask_keys

_PROCESSORS: Final[tuple[Any, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(settings: Settings) -> None:
    """Make structlog and the standard library write logs in the form that the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_formatter(settings))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    capture_warnings()
    structlog.configure(
        processors=[*_PROCESSORS, *_rendering(settings)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def capture_warnings() -> None:
    """Write warnings of libraries to the log, those of Pillow each time, since each is about another image."""
    logging.captureWarnings(True)
    warnings.filterwarnings("always", module=r"PIL\.")


def log_formatter(settings: Settings) -> logging.Formatter:
    """Return the formatter that gives log records of the standard library the same form."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_PROCESSORS, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings)],
    )


def _rendering(settings: Settings) -> list[Any]:
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), _masked]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        repr_native_str=True,  # a text of a caller must not begin a new line
        exception_formatter=structlog.dev.plain_traceback,  # Rich's shows variables, and keys in them
    )
    return [console, _masked]


def _masked(_logger: object, _method: str, line: str) -> str:
    return mask_keys(line)
