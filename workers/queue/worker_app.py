"""How a Celery worker process opens: settings, application, heartbeat, logs. Shared by the worker and the sender."""

from __future__ import annotations

from celery import Celery, signals

from serving.errors import ShelflineError
from workers.io.blobs import check_blobs
from workers.process import check_utf8, refuse
from workers.queue.bootsteps import ForgetBrokenConnection, add_heartbeat
from workers.queue.celery_app import create_celery
from workers.settings import Settings, load_settings
from workers.telemetry.logs import configure_logs


def open_worker() -> tuple[Settings, Celery]:
    """Return the settings and the Celery application of this process.

    If a setting or the locale is wrong, print what is wrong and exit with status 2.
    """
    try:
        settings = load_settings()
        check_utf8()
        check_blobs(settings.blob_url)
        app = create_celery(settings)
        app.steps["consumer"].add(ForgetBrokenConnection)
        add_heartbeat(app, settings.heartbeat_file)
    except ShelflineError as error:
        refuse(error)
    configure_logs(settings)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # otherwise Celery would configure logging itself
    return settings, app
