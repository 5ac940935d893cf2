"""What gunicorn reads: `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

import sys

from api.binding import checked_binding
from api.waiting import THREADS
from serving.errors import ShelflineError
from workers.settings import load_settings

try:
    bind = checked_binding(load_settings())
except ShelflineError as error:
    sys.exit(f"shelfline: {error}")

worker_class = "gthread"
threads = THREADS
keepalive = 15
timeout = 120  # a busy machine is not a hung worker: only the main thread has to show signs of life
graceful_timeout = 4  # process managers kill after 5
control_socket_disable = True  # a path in the home folder that every gunicorn of the user would share
accesslog = None
errorlog = "-"
loglevel = "warning"
