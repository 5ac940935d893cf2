"""Gunicorn's logs without the keys that callers send where they do not belong: in a path, in a query."""

from __future__ import annotations

import logging

from gunicorn.config import Config
from gunicorn.glogging import Logger

from workers.keys import mask_keys


class MaskedLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's logger; whatever it formats, tracebacks too, is masked."""

    def setup(self, cfg: Config) -> None:
        """Set the handlers up."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                if not isinstance(handler.formatter, _Masking):
                    handler.setFormatter(_Masking(handler.formatter or logging.Formatter()))


class _Masking(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return mask_keys(self._inner.format(record))
