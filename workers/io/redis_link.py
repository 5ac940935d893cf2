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

# States in which Redis refuses what it is asked for: how its error begins, the name that /readyz shows, and what to do.
_STATES = {
    "OOM": (
        "redis_full",
        "Redis is full (it uses all of its maxmemory): delete jobs that are over, cancel others, or raise maxmemory.",
    ),
    "READONLY": (
        "redis_read_only",
        "Redis is a replica and accepts no writes: set REDIS_URL to its master, or make it a master.",
    ),
    "MISCONF": ("redis_disk", "Redis cannot write to its disk: make room there, and see its log."),
}
_REFUSALS = ("NOREPLICAS", "BUSY", "LOADING", "NOGROUP", "DENIED", "UNBLOCKED", *_STATES)
NOTHING = "sl:nothing"  # a key that never exists
_RETRY_EVERY = 0.1  # seconds
_POLICY_SECONDS = 5.0
_CLOCK_SECONDS = 10.0
_MAX_CONNECTIONS = 32  # 224 new connections at once, when 224 waiting callers wake up, took too long (measured)
_SCRIPTS = Path(__file__).parent / "scripts"
# The head of a script: how Redis is to run it, and the libraries that it needs.
_HEAD = re.compile(r"(?P<flags>#!lua [^\n]+\n)?(?:-- requires: (?P<libraries>[^\n]+)\n)?")


@contextmanager
def translated() -> Iterator[None]:
    """Raise StoreUnavailableError if Redis cannot be reached or refuses the command."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        REDIS_ERRORS.add("no_answer")
        raise StoreUnavailableError("Redis does not answer: check that it runs, and REDIS_URL.") from error
    except redis.RedisError as error:
        text = _text_of(error)
        if text.startswith(_REFUSALS):
            REDIS_ERRORS.add("refused")
            refusal = text.partition(". ")[0]
            reason, message = _STATES.get(
                text.partition(" ")[0], ("", f"Redis refuses to work ({refusal}): see its log.")
            )
            raise StoreUnavailableError(message, reason) from error
        raise


def _text_of(error: redis.RedisError) -> str:
    """Return Redis' own text of an error: redis-py takes the first word off errors that it has a class for."""
    words = {redis.OutOfMemoryError: "OOM ", redis.ReadOnlyError: "READONLY ", redis.BusyLoadingError: "LOADING "}
    word = words.get(type(error), "")
    return str(error) if str(error).startswith(word) else word + str(error)


def hash_of(flat: Sequence[str]) -> dict[str, str]:
    """Return the hash that a script returned as a list: field, value, field, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def script_source(name: str) -> str:
    """Return the text of a script as Redis runs it; `name` is its path below workers/io/scripts, as in lanes/claim."""
    return _source(name)


@cache
def _source(name: str) -> str:
    """Return a script after the libraries that it requires: each once, after its own requirements.

    A line `#!lua flags=...` comes first, since Redis reads it only there.
    """
    texts = [(_SCRIPTS / f"{part}.lua").read_text() for part in _with_libraries(name)]
    flags = _head(texts[-1])["flags"] or ""
    return flags + "".join(texts).replace(flags, "")


def _head(text: str) -> re.Match[str]:
    head = _HEAD.match(text)
    assert head is not None, "every part of the head may be missing"
    return head


def _with_libraries(name: str) -> list[str]:
    requires = _head((_SCRIPTS / f"{name}.lua").read_text())["libraries"]
    libraries: dict[str, None] = {}
    for library in requires.split(", ") if requires else ():
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
        self._policy_found, self._policy_known_until = "", -float("inf")
        self._clock_ahead, self._clock_known_until = 0.0, -float("inf")

    def run(self, name: str, *args: object) -> Any:  # noqa: ANN401  each script has its own answer
        """Run a script, named by its path below workers/io/scripts, as in lanes/claim. Raises StoreUnavailableError."""
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self.client.register_script(_source(name))
        return self._patiently(lambda: script(args=args))

    def now(self) -> float:
        """Return the time in seconds since the epoch by Redis' clock, which decides. Raises StoreUnavailableError.

        The clocks of the hosts may differ by minutes. Redis is asked every 10 s; the time since then is counted here.
        """
        counted = time.monotonic()
        if counted >= self._clock_known_until:
            seconds, micros = self._patiently(self.client.time)
            self._clock_ahead = seconds + micros / 1e6 - time.monotonic()
            self._clock_known_until = counted + _CLOCK_SECONDS
        return time.monotonic() + self._clock_ahead

    def check_policy(self) -> None:
        """Raise SettingsError if Redis may evict keys when its memory is full; StoreUnavailableError if it is down."""
        problem = self._policy_problem()
        if problem:
            raise SettingsError(problem)

    def check_keeps(self) -> None:
        """Raise StoreUnavailableError if Redis may evict what it accepts; cheap, since it looks every 5 s only.

        Its policy can be changed while it runs.
        """
        now = time.monotonic()
        if now >= self._policy_known_until:
            self._policy_found = self._policy_problem()
            self._policy_known_until = now + _POLICY_SECONDS
        if self._policy_found:
            raise StoreUnavailableError(self._policy_found, "redis_evicts")

    def check_writes(self) -> None:
        """Raise StoreUnavailableError if Redis accepts no writes now: it is down, full, a replica, or its disk is.

        The command is refused like every write that needs memory, but it writes nothing.
        """
        with translated():
            self.client.set(NOTHING, "", xx=True)

    def _policy_problem(self) -> str:
        policy = self._patiently(lambda: self.client.info("memory"))["maxmemory_policy"]
        if policy == "noeviction":
            return ""
        return (
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
