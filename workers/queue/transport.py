"""Celery's way to Redis for messages that are wake-ups: they may be lost, and nothing in their queues stops a worker.

kombu's Redis transport keeps each message that was taken in Redis until it is acknowledged, and it lets every error of
Redis and every text that is no message end the worker. Wake-ups carry no work, so here

- what was taken is not kept: taking a message writes nothing, so a worker goes on while Redis is full;
- a message is read strictly, and discarded with a line in the log if it is none;
- an error of Redis counts as a broken connection, and Celery connects again until Redis works;
- a message expires in Redis, by Redis' clock;
- the queues are not declared in Redis: each has the name of its exchange.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from queue import Empty
from typing import Any

import redis
import structlog
from kombu import transport as kombu_transports
from kombu.transport import redis as kombu_redis
from kombu.utils.objects import cached_property

from workers.io.redis_link import NOTHING, script_source
from workers.jobs.lanes import WAKE_UP_SECONDS
from workers.queue.wakeups import TASKS

log = structlog.get_logger(__name__)

_SHOWN_BYTES = 100  # of a message that is discarded


def read_wake_up(raw: bytes, queue: str) -> dict[str, Any]:
    """Return the message for Celery that a text in a queue asks for. Raises ValueError if the text is no wake-up.

    Only the task and its arguments are taken from the text. So nothing else in it (a time to wait for, tasks to call
    afterwards) has any effect.
    """
    try:
        message = json.loads(raw.decode())
        task = message["headers"]["task"]
        args, _, _ = json.loads(base64.b64decode(message["body"], validate=True))
        texts = [arg for arg in args if isinstance(arg, str)]
        known = TASKS[queue].get(task) == len(args) == len(texts)
    except (UnicodeDecodeError, json.JSONDecodeError, binascii.Error) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"it has another form: {type(error).__name__}") from error
    if not known:
        raise ValueError("it names another task or other arguments")
    return _message(task, texts, queue)


def _message(task: str, args: list[str], queue: str) -> dict[str, Any]:
    """Return a message of Celery's protocol 2 in kombu's virtual form."""
    number = str(uuid.uuid4())
    body = json.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": number, "root_id": number, "retries": 0, "ignore_result": True},
        "properties": {
            "correlation_id": number,
            "delivery_info": {"exchange": queue, "routing_key": queue},
            "body_encoding": "base64",
            "delivery_tag": number,
        },
    }


_kombu: Any = kombu_redis  # kombu carries types for a part of it only


class WakeUpChannel(_kombu.Channel):  # type: ignore[misc]
    """A channel for wake-ups."""

    ack_emulation = False
    do_restore = False  # a wake-up that was taken and not used is not put back: the sweep sends another

    @cached_property
    def _push(self) -> Any:  # noqa: ANN401  redis-py's script
        return self._create_client().register_script(script_source("lanes/push_wakeup"))

    def _put(self, queue: str, message: dict[str, Any], **_: object) -> None:
        with self.conn_or_acquire() as client:
            self._push(keys=[queue], args=[json.dumps(message), WAKE_UP_SECONDS * 1000], client=client)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Do nothing: a queue has the name of its exchange."""

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Return the one queue of an exchange."""
        return [(exchange, "", exchange)]

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401  redis-py's options
        """Deliver the message that Redis returns, or raise Empty. kombu calls this when an answer has arrived."""
        try:
            try:
                answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except redis.RedisError as error:
                self.client.connection.disconnect()
                if isinstance(error, self.connection_errors):
                    raise
                raise redis.ConnectionError(str(error)) from error
            if not answer:
                raise Empty
            queue, raw = answer[0].decode(), answer[1]
            self._queue_cycle.rotate(queue)
            try:
                message = read_wake_up(raw, queue)
            except ValueError as error:
                log.warning("message discarded", queue=queue, why=str(error), begins=repr(raw[:_SHOWN_BYTES]))
                raise Empty from error
            self.connection._deliver(message, queue)  # noqa: SLF001  as kombu does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


class WakeUpTransport(_kombu.Transport):  # type: ignore[misc]
    """A transport whose connection is established only while Redis lets messages be taken."""

    Channel = WakeUpChannel

    def establish_connection(self) -> Any:  # noqa: ANN401  kombu carries no types
        """Connect. Raises ConnectionError if Redis is a replica or refuses writes; Celery then tries again."""
        connection = super().establish_connection()
        try:
            self._avail_channels[-1].client.lpop(NOTHING)
        except redis.ResponseError as error:
            self.close_connection(connection)
            raise redis.ConnectionError(f"Redis lets no message be taken: {error}") from error
        return connection


def use_wake_up_transport() -> None:
    """Have kombu use this transport for the URLs of Redis in this process."""
    for scheme in ("redis", "rediss"):
        kombu_transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:{WakeUpTransport.__name__}"
        kombu_transports._transport_cache.pop(scheme, None)  # noqa: SLF001  it may have been looked up before
