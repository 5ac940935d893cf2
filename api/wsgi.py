"""The composition root of the API: real settings, real backend. `gunicorn -c python:api.gunicorn api.wsgi:app`."""

from __future__ import annotations

from api.app import create_app
from workers.backend import open_backend
from workers.logs import configure_logs
from workers.metrics.publishing import start_publishing
from workers.settings import load_settings

settings = load_settings()
configure_logs(settings)
start_publishing(settings.redis_url)
app = create_app(settings, open_backend(settings))
