"""Gunicorn's configuration: `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

from gunicorn.config import Config
from gunicorn.glogging import Logger

from api.access.binding import checked_binding
from api.http.waiting import THREADS
from api.http.web_worker import worker_class as make_worker_class
from serving.errors import ShelflineError
from workers.io.blobs import check_blobs
from workers.process import refuse
from workers.settings import load_settings
from workers.store.api_keys import keys_exist
from workers.telemetry.logs import log_formatter

try:
    settings = load_settings()
    check_blobs(settings.blob_url)
    bind = checked_binding(settings, lambda: keys_exist(settings.redis_url))
except ShelflineError as error:
    refuse(error)


class MaskedLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's logger, with API keys masked in all messages, including tracebacks."""

    def setup(self, cfg: Config) -> None:
        """Set up the handlers with the masking formatter."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(log_formatter(settings))


worker_class = make_worker_class(settings.slow_client_seconds)
threads = THREADS
keepalive = 15
timeout = 120  # seconds; long, so that a worker on a busy machine is not taken for a hung one
graceful_timeout = 4  # seconds; less than the 5 s after which process managers kill
control_socket_disable = True  # its path in the home folder would be shared by every gunicorn of the user
forwarder_headers = ""  # request headers must not change the path prefix of the API
accesslog = None
logger_class = MaskedLogger
errorlog = "-"
loglevel = "warning"
