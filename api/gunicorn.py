"""Gunicorn's configuration: `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

import resource

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from api.access.binding import checked_binding
from api.http.connections.connection_limits import connection_limit
from api.http.connections.web_worker import ConnectionSettings
from api.http.connections.web_worker import worker_class as make_worker_class
from api.http.waiting import THREADS
from serving.errors import ShelflineError
from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore, check_blobs
from workers.io.redis_link import RedisLink
from workers.process import check_utf8, refuse
from workers.settings import load_settings
from workers.store.api_keys import keys_exist
from workers.store.store_id import check_store_id
from workers.telemetry.logs import log_formatter

_FEW_FILES = 1024


def _check_store_id() -> None:
    link = RedisLink(settings.redis_url)
    try:
        check_store_id(link, BlobStore.of(settings))
    except StoreUnavailableError:
        return  # the API starts without them, and answers 503
    finally:
        link.close()


try:
    settings = load_settings()
    check_blobs(settings.blob_url)
    check_utf8()
    _check_store_id()
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


def when_ready(server: Arbiter) -> None:
    """Warn at the start if the process may open few files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < _FEW_FILES:
        server.log.warning(
            "Only %d files may be open, so only %d connections at once: raise the limit (`ulimit -n`) to %d or more.",
            files,
            worker_connections,
            _FEW_FILES,
        )


worker_class = make_worker_class(
    ConnectionSettings(
        settings.slow_client_seconds,
        max(settings.max_upload_bytes, settings.max_json_bytes),
        settings.max_connections_per_address,
        settings.max_connections_per_key,
    )
)
worker_connections = connection_limit(settings.max_connections)
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
