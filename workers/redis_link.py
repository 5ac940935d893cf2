"""The connection to Redis, its scripts, and the one place where Redis' errors become the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from workers.errors import SettingsError, StoreUnavailableError

_SCRIPTS = Path(__file__).parent / "scripts"


@contextmanager
def translated() -> Iterator[None]:
    """Raise StoreUnavailableError where Redis cannot be reached or refuses to write."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError) as error:
        raise StoreUnavailableError(f"Redis does not answer ({error}): check that it runs, and REDIS_URL.") from error


@cache
def _source(name: str) -> str:
    return (_SCRIPTS / "common.lua").read_text() + (_SCRIPTS / f"{name}.lua").read_text()


class RedisLink:
    """A lazily opened connection pool, and the project's scripts by name.

    `patience` is for how many seconds a command is tried again while Redis is away: an API answers 503 soon, a worker
    that holds images waits for Redis to come back. Every script may run twice because of that; each is written so.
    """

    def __init__(self, url: str, *, patience: float = 0.0, socket_timeout: float = 5.0) -> None:
        retries = int(patience / 0.5) + 1 if patience else 1
        # Any: redis-py types each answer as bytes or str, and here they are always str
        self.client: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=socket_timeout,
            socket_connect_timeout=2.0,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError],
        )
        self._registered: dict[str, Any] = {}

    def run(self, name: str, *args: object) -> Any:  # noqa: ANN401  each script has its own answer
        """Run a script of workers/scripts; raises StoreUnavailableError."""
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self.client.register_script(_source(name))
        with translated():
            return script(args=args)

    def check_policy(self) -> None:
        """Raise SettingsError where Redis may throw away keys when its memory is full."""
        with translated():
            policy = self.client.info("memory").get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise SettingsError(
                f"Redis evicts keys when it is full (maxmemory-policy {policy}), and accepted images with them: "
                "run `redis-cli config set maxmemory-policy noeviction` and put it into redis.conf."
            )

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
