"""Wait for jobs to change or to finish, with one Redis subscription per process for all waiting threads."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from workers.io.redis_link import RedisLink

_FINISHED, _CHANGED = "sl:finished", "sl:changed"


class JobListener:
    """Wake the threads that wait for a job.

    After a lost message a thread waits until its timeout, and then reads the job all the same.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], set[threading.Event]] = defaultdict(set)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    @contextmanager
    def waiting_for(self, job_id: str, *, changes: bool = False) -> Iterator[threading.Event]:
        """Yield an event that is set when the job finishes; with `changes`, also whenever the job changes.

        Read the job after entering. A job that finished before does not set the event.
        """
        event = threading.Event()
        keys = [(channel, job_id) for channel in ((_FINISHED, _CHANGED) if changes else (_FINISHED,))]
        with self._lock:
            for key in keys:
                self._waiting[key].add(event)
            listening = self._ensure_listening()
        listening.wait(1.0)
        try:
            yield event
        finally:
            with self._lock:
                for key in keys:
                    self._waiting[key].discard(event)
                    if not self._waiting[key]:
                        del self._waiting[key]

    def close(self) -> None:
        """End the subscription, and wake all waiting threads at once."""
        self._closing.set()
        self._wake(None)
        if self._thread is not None:
            self._thread.join()

    def _ensure_listening(self) -> threading.Event:
        if self._thread is None or not self._thread.is_alive():
            self._listening = threading.Event()
            self._thread = threading.Thread(target=self._listen, name="finished-listener", daemon=True)
            self._thread.start()
        return self._listening

    def _wake(self, which: tuple[str, str] | None) -> None:
        with self._lock:
            for key in [which] if which else list(self._waiting):
                for event in self._waiting.get(key, ()):
                    event.set()

    def _listen(self) -> None:
        try:
            with self._link.client.pubsub() as channel:
                channel.subscribe(_FINISHED, _CHANGED)
                while not self._closing.is_set():
                    message = channel.get_message(timeout=0.25)
                    if message is None:
                        continue
                    if message["type"] == "subscribe":
                        self._listening.set()
                    elif message["type"] == "message":
                        self._wake((message["channel"], message["data"]))
        except (redis.RedisError, OSError):
            # The next thread that waits starts a new subscription. Those that wait now are woken; they read the job at
            # once, and get the error of the store.
            self._listening.set()
            self._wake(None)
