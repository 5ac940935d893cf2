"""Gunicorn's logs in the form of all others, without the keys that callers send where they do not belong."""

from __future__ import annotations

from gunicorn.config import Config
from gunicorn.glogging import Logger

from workers.settings import Settings
from workers.telemetry.logs import log_formatter


def logger_class(settings: Settings) -> type[Logger]:
    """Gunicorn's logger; whatever it formats, tracebacks too, is masked."""

    class MaskedLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
        def setup(self, cfg: Config) -> None:
            """Set the handlers up."""
            super().setup(cfg)
            for log in (self.error_log, self.access_log):
                for handler in log.handlers:
                    handler.setFormatter(log_formatter(settings))

    return MaskedLogger
