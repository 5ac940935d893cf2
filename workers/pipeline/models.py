"""The cached contracts of a worker process, each pinned to its version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from serving.client import ModelClient, ServedModel
from serving.contract import VersionStatus
from serving.description import read_description
from serving.errors import ContractError, ModelTimeoutError, ModelUnavailableError
from workers.jobs.options import parse_target
from workers.store.catalog import Catalog, Published

log = structlog.get_logger(__name__)

_REFRESH_SECONDS: Final = 2.0  # how long a cached version is used before the model server is asked for a newer one
_PATIENCE: Final = 0.25  # seconds that work waits for that answer: a server that is busy with batches may take long
_TRUSTED_SECONDS: Final = 300.0  # how long a cached version is used if the server does not answer in time


@dataclass(frozen=True)
class _Cached:
    served: ServedModel
    at: float

    def is_younger(self, seconds: float) -> bool:
        return time.monotonic() - self.at < seconds


class Models:
    """The cached contracts of this process. Each is pinned to the version that answered with it. Thread-safe."""

    def __init__(self, client: ModelClient, catalog: Catalog, contracts: Path | None) -> None:
        self._client = client
        self._catalog = catalog
        self._contracts = contracts
        self._cached: dict[str, _Cached] = {}
        self._refreshing: dict[str, Future[ServedModel]] = {}
        self._lock = threading.Lock()

    def current(self, target: str, *, fresh: bool = False) -> ServedModel:
        """Return the version and contract for a target (JobOptions.target); with `fresh`, as the server says now.

        That is the version that the target names, or else the newest. What is found about the newest is published.

        Without `fresh` the answer may be 2 s old. If the model server does not answer at once, a cached version goes on
        being used for five minutes: the server is busy, and work that fits the contract need not wait for another copy.

        Raises ModelUnavailableError if the model server does not serve it, ContractError if its contract cannot be
        used, StoreUnavailableError if Redis is down.
        """
        with self._lock:
            cached = self._cached.get(target)
        if cached is None or fresh:
            return self._ask(target)
        if cached.is_younger(_REFRESH_SECONDS):
            return cached.served
        refresh = self._refresh(target)
        if not cached.is_younger(_TRUSTED_SECONDS):
            return refresh.result()
        try:
            return refresh.result(_PATIENCE)
        except (TimeoutError, ModelTimeoutError):
            return cached.served

    def _refresh(self, target: str) -> Future[ServedModel]:
        """Ask the model server in a thread, unless one is asking already."""
        with self._lock:
            running = self._refreshing.get(target)
            if running is not None:
                return running
            refresh = self._refreshing[target] = Future[ServedModel]()

        def ask() -> None:
            try:
                served = self._ask(target)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the answer raises it
                outcome = partial(refresh.set_exception, error)
            else:
                outcome = partial(refresh.set_result, served)
            with self._lock:
                del self._refreshing[target]
            outcome()

        try:
            threading.Thread(target=ask, name="describe", daemon=True).start()
        except RuntimeError:  # there are too many threads: others must not wait for an answer that never comes
            ask()
        return refresh

    def _ask(self, target: str) -> ServedModel:
        with self._lock:
            cached = self._cached.get(target)
        model, version = parse_target(target)
        try:
            served = self._newest(target, model) if version is None else self._described(model, version)
        except ModelTimeoutError:
            raise
        except (ModelUnavailableError, ContractError):
            with self._lock:
                self._cached.pop(target, None)
            raise
        with self._lock:
            self._cached[target] = _Cached(served, time.monotonic())
        if cached is None or cached.served.version != served.version:
            log.info("model version", model=model, version=served.version)
        return served

    def _newest(self, target: str, model: str) -> ServedModel:
        """Return the newest version and publish what is found.

        A server that is too busy to describe a version that it still serves has the same contract as before. One that
        does not answer at all is published as such only once the cached version is not used any more.
        """
        with self._lock:
            cached = self._cached.get(target)
        works = cached is not None and cached.is_younger(_TRUSTED_SECONDS)
        versions: tuple[VersionStatus, ...] = ()
        try:
            versions = tuple(self._client.status(model))
            served = self._described(model, None)
        except (ModelUnavailableError, ContractError) as error:
            is_late = isinstance(error, ModelTimeoutError)
            if is_late and cached is not None and cached.served.version == _newest_available(versions):
                served = cached.served
            else:
                if not (is_late and works):
                    self._catalog.publish(Published(model, str(error) or error.code, versions=versions))
                raise
        self._catalog.publish(Published(model, "", served.version, served.contract.to_json(), versions))
        return served

    def _described(self, model: str, version: int | None) -> ServedModel:
        return described(self._client, self._contracts, model, version)


def described(client: ModelClient, contracts: Path | None, model: str, version: int | None = None) -> ServedModel:
    """Return a version of a model with its contract; None stands for the newest version.

    The description that the operator wrote (`contract.toml`) is read each time, since it may change with the versions.
    Raises what `ModelClient.describe` raises, and ContractError if the description is wrong.
    """
    path = contracts / model / "contract.toml" if contracts else None
    return client.describe(model, version, instead=read_description(path) if path and path.is_file() else None)


def _newest_available(versions: Iterable[VersionStatus]) -> int | None:
    return max((status.version for status in versions if status.state == "AVAILABLE"), default=None)
