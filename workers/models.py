"""What workers know about models, and publish for the API to read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from serving.client import ModelClient, ServedModel
from serving.errors import ContractError, ModelUnavailableError
from workers.redis_link import RedisLink, translated

log = structlog.get_logger(__name__)

PUBLISHED_SECONDS = 60  # what was published is not believed for longer
_REFRESH_SECONDS = 2.0  # how soon a new version is noticed by a worker that is busy with the old one


def published_key(model: str) -> str:
    """Where what workers know about a model is published: a hash of `state`, `version`, `contract`, `error`."""
    return f"sl:served:{model}"


class Models:
    """The contracts that this process holds; each is pinned to the version that answered with it."""

    def __init__(self, client: ModelClient, link: RedisLink, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._link = link
        self._clock = clock
        self._held: dict[str, tuple[float, ServedModel]] = {}
        self._lock = threading.Lock()

    def current(self, model: str, *, fresh: bool = False) -> ServedModel:
        """The newest version of a model and its contract, at most two seconds old, or just asked for with `fresh`.

        Raises ModelUnavailableError, ContractError, StoreUnavailableError; what it finds is published either way.
        """
        with self._lock:
            held = self._held.get(model)
        if held is not None and not fresh and self._clock() - held[0] < _REFRESH_SECONDS:
            return held[1]
        try:
            served = self._client.describe(model)
        except (ModelUnavailableError, ContractError) as error:
            with self._lock:
                self._held.pop(model, None)
            self._publish(model, {"state": "unavailable", "error": str(error)})
            raise
        with self._lock:
            self._held[model] = (self._clock(), served)
        if held is None or held[1].version != served.version:
            log.info("model version", model=model, version=served.version)
        self._publish(
            model, {"state": "available", "version": served.version, "contract": served.contract.to_json(), "error": ""}
        )
        return served

    def _publish(self, model: str, what: dict[str, str | int]) -> None:
        with translated(), self._link.client.pipeline(transaction=True) as pipe:
            pipe.hset(published_key(model), mapping=what)
            pipe.expire(published_key(model), PUBLISHED_SECONDS)
            pipe.execute()
