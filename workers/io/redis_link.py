"""The connection to Redis, its scripts, and the translation of Redis' errors into Shelfline's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.errors import SettingsError, StoreUnavailableError
from workers.telemetry.metrics import REDIS_ERRORS

_REFUSALS = ("MISCONF", "NOREPLICAS", "OOM", "READONLY", "BUSY", "LOADING", "NOGROUP", "DENIED")
_RETRY_EVERY = 0.1  # seconds
_MAX_CONNECTIONS = 32  # 224 new connections at once, when 224 waiting callers wake up, took too long (measured)
_SCRIPTS = Path(__file__).parent / "scripts"
_REQUIRES = re.compile(r"-- requires: (.+)\n")


@contextmanager
def translated() -> Iterator[None]:
    """Raise StoreUnavailableError if Redis cannot be reached or refuses the command."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        REDIS_ERRORS.add("no_answer")
        raise StoreUnavailableError("Redis does not answer: check that it runs, and REDIS_URL.") from error
    except redis.RedisError as error:
        if isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError) or str(error).startswith(_REFUSALS):
            REDIS_ERRORS.add("refused")
            reason = str(error).partition(". ")[0]
            raise StoreUnavailableError(f"Redis refuses to work ({reason}): see its log.") from error
        raise


def hash_of(flat: Sequence[str]) -> dict[str, str]:
    """Return the hash that a script returned as a list: field, value, field, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


@cache
def _source(name: str) -> str:
    """Return the text of a script after the libraries that it requires: each once, after its own requirements."""
    return "".join((_SCRIPTS / f"{part}.lua").read_text() for part in _with_libraries(name))


def _with_libraries(name: str) -> list[str]:
    requires = _REQUIRES.match((_SCRIPTS / f"{name}.lua").read_text())
    libraries: dict[str, None] = {}
    for library in requires[1].split(", ") if requires else ():
        libraries |= dict.fromkeys(_with_libraries(f"lib/{library}"))
    return [*libraries, name]


class RedisLink:
    """A connection pool, opened at first use, and the scripts by name.

    `patience` says for how many seconds a script is tried again while Redis is down: the API answers 503 soon, a worker
    with images in flight waits. Because of that a script may run twice, and every script is written so that this does
    no harm.
    """

    def __init__(self, url: str, *, patience: float = 0.0) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=5.0,
            decode_responses=True,
            socket_timeout=5.0,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 1),  # a connection that Redis closed while it was idle
        )
        # Any: redis-py types each answer as bytes or str, and here they are always str
        self.client: Any = redis.Redis.from_pool(pool)
        self._patience = patience
        self._registered: dict[str, Any] = {}

    def run(self, name: str, *args: object) -> Any:  # noqa: ANN401  each script has its own answer
        """Run a script, named by its path below workers/io/scripts, as in lanes/claim. Raises StoreUnavailableError."""
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self.client.register_script(_source(name))
        return self._patiently(lambda: script(args=args))

    def check_policy(self) -> None:
        """Raise SettingsError if Redis may evict keys when its memory is full."""
        policy = self._patiently(lambda: self.client.info("memory"))["maxmemory_policy"]
        if policy != "noeviction":
            raise SettingsError(
                f"Redis would delete accepted images when its memory is full (maxmemory-policy {policy}): run "
                "`redis-cli config set maxmemory-policy noeviction` and put it into redis.conf."
            )

    def _patiently(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401  each call has its own answer
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with translated():
                    return call()
            except StoreUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_EVERY)

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
