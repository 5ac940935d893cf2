"""The sender's entry point: `celery --app workers.webhooks.main:app worker --queues webhooks --pool threads`.

It is a separate process, so that an endpoint that hangs delays no image. It imports nothing of the pipeline.
"""

from __future__ import annotations

from functools import cache

import structlog
from celery import signals

from workers.errors import SettingsError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.process import refuse
from workers.queue.timer import repeat
from workers.queue.wakeups import DELIVER_TASK, WEBHOOKS_QUEUE, CeleryWakeUps
from workers.queue.worker_app import open_worker
from workers.store.store_id import check_store_id
from workers.telemetry.publishing import start_publishing
from workers.webhooks.dispatch import Dispatcher
from workers.webhooks.outbox import Outbox
from workers.webhooks.sender import Sender

settings, app = open_worker()
log = structlog.get_logger(__name__)

_WATCH_EVERY = 0.25  # seconds


@cache
def dispatcher() -> Dispatcher:
    """Return this process's dispatcher, opened at first use."""
    link = RedisLink(settings.redis_url)
    outbox = Outbox(link, settings)
    sender = Sender(link, BlobStore.of(settings), outbox, settings)
    return Dispatcher(outbox, sender.attempt, settings)


@app.task(name=DELIVER_TASK)
def deliver() -> None:
    """Make the deliveries that are due."""
    try:
        dispatcher().run()
    except StoreUnavailableError as error:  # the watch sends another wake-up when Redis is back
        log.warning("webhooks wait", error=str(error))


@signals.worker_init.connect(weak=False)
def _check_store(**_: object) -> None:
    link = RedisLink(settings.redis_url)
    try:
        check_store_id(link, BlobStore.of(settings))
    except StoreUnavailableError as error:
        log.warning("store not checked", error=str(error))
    except SettingsError as error:
        refuse(error)
    finally:
        link.close()


@signals.worker_shutting_down.connect(weak=False)
def _stop(**_: object) -> None:
    dispatcher().stop()


@signals.worker_shutdown.connect(weak=False)
def _close(**_: object) -> None:
    dispatcher().close()


@signals.worker_ready.connect(weak=False)
def _start_watch(**_: object) -> None:
    start_publishing(RedisLink(settings.redis_url).run)
    link = RedisLink(settings.redis_url)
    wakeups, outbox = CeleryWakeUps(link, app), Outbox(link, settings)

    def wake_if_due() -> float:
        """Send a wake-up if a delivery is due, so a lost message does no harm."""
        if outbox.is_due():
            wakeups.wake_for_upkeep(DELIVER_TASK, once_in=0.5, queue=WEBHOOKS_QUEUE)
        return _WATCH_EVERY

    repeat("webhook-watch", wake_if_due, _WATCH_EVERY)
