"""What gunicorn reads: `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

from api.binding import checked_binding
from api.masking import logger_class as make_logger_class
from api.waiting import THREADS
from api.web_worker import worker_class as make_worker_class
from serving.errors import ShelflineError
from workers.io.blobs import check_blobs
from workers.process import refuse
from workers.settings import load_settings
from workers.store.api_keys import keys_exist

try:
    settings = load_settings()
    check_blobs(settings.blob_url)
    bind = checked_binding(settings, lambda: keys_exist(settings.redis_url))
except ShelflineError as error:
    refuse(error)

worker_class = make_worker_class(settings.slow_client_seconds)
threads = THREADS
keepalive = 15
timeout = 120  # a busy machine is not a hung worker: only the main thread has to show signs of life
graceful_timeout = 4  # process managers kill after 5
control_socket_disable = True  # a path in the home folder that every gunicorn of the user would share
forwarder_headers = ""  # no header of a request moves the API to another path
accesslog = None
logger_class = make_logger_class(settings)
errorlog = "-"
loglevel = "warning"
