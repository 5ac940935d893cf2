"""The Celery application: JSON only, no results, explicit names. Its messages are wake-ups, which carry no work."""

from __future__ import annotations

from celery import Celery
from kombu.entity import Exchange, Queue

from workers.queue.transport import use_wake_up_transport
from workers.queue.wakeups import TASKS, UPKEEP_QUEUE
from workers.settings import Settings


def create_celery(settings: Settings) -> Celery:
    """Return a Celery application on the settings' Redis, which is not set as the current application."""
    use_wake_up_transport()
    app = Celery("shelfline", set_as_current=False)
    app.conf.update(
        broker_url=settings.redis_url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 5.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in TASKS],
        task_default_queue=UPKEEP_QUEUE,
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a waiting wake-up stays in its queue, where it is counted: see wakeups.py
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        enable_utc=True,
    )
    return app
