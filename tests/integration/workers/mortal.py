"""A process that stops after any one Redis command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from workers.io.redis_link import RedisLink


class StoppedError(BaseException):
    """The process is no more. Not an Exception: nothing may handle it."""


class Mortal:
    """Makes a link's every command raise from the one after its `life`-th on, as if the process had been killed."""

    def __init__(self, link: RedisLink, life: int) -> None:
        self._left = life
        self._lock = threading.Lock()
        client = link.client
        client.execute_command = self._wrapped(client.execute_command)
        make_pipeline = client.pipeline

        def pipeline(**options: Any) -> Any:
            made = make_pipeline(**options)
            made.execute = self._wrapped(made.execute)
            return made

        client.pipeline = pipeline

    @property
    def stopped(self) -> bool:
        """Whether it came to that."""
        return self._left < 0

    def _wrapped(self, command: Callable[..., Any]) -> Callable[..., Any]:
        def execute(*args: Any, **options: Any) -> Any:
            with self._lock:
                self._left -= 1
                if self._left < 0:
                    raise StoppedError
            return command(*args, **options)

        return execute
