"""Create the application that gunicorn serves, from the environment's settings and the real backend.

Start it with `gunicorn -c python:api.gunicorn api.wsgi:app`.
"""

from __future__ import annotations

from api.app import create_app
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.settings import load_settings
from workers.sources.memory.allocator import return_large_blocks
from workers.telemetry.logs import configure_logs
from workers.telemetry.publishing import start_publishing

return_large_blocks()
settings = load_settings()
configure_logs(settings)
start_publishing(RedisLink(settings.redis_url).run)
app = create_app(settings, Backend(settings))
