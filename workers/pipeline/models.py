"""The cached contracts of a worker process, each pinned to its version."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from serving.client import ModelClient, ServedModel
from serving.contract import VersionStatus
from serving.description import read_description
from serving.errors import ContractError, ModelUnavailableError
from workers.jobs.options import parse_target
from workers.store.catalog import Catalog, Published

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 2.0  # how long a cached version is used before the model server is asked for a newer one


class Models:
    """The cached contracts of this process. Each is pinned to the version that answered with it. Thread-safe."""

    def __init__(self, client: ModelClient, catalog: Catalog, contracts: Path | None) -> None:
        self._client = client
        self._catalog = catalog
        self._contracts = contracts
        self._cached: dict[str, tuple[float, ServedModel]] = {}
        self._lock = threading.Lock()

    def current(self, target: str, *, fresh: bool = False) -> ServedModel:
        """Return the version and contract for a target (JobOptions.target), cached for 2 s; with `fresh`, not cached.

        That is the version that the target names, or else the newest. What is found about the newest is published.

        Raises ModelUnavailableError if the model server does not serve it, ContractError if its contract cannot be
        used, StoreUnavailableError if Redis is down.
        """
        with self._lock:
            cached_at, cached = self._cached.get(target, (0.0, None))
        if cached is not None and not fresh and time.monotonic() - cached_at < _REFRESH_SECONDS:
            return cached
        model, version = parse_target(target)
        try:
            served = self._newest(model) if version is None else self._described(model, version)
        except (ModelUnavailableError, ContractError):
            with self._lock:
                self._cached.pop(target, None)
            raise
        with self._lock:
            self._cached[target] = (time.monotonic(), served)
        if cached is None or cached.version != served.version:
            log.info("model version", model=model, version=served.version)
        return served

    def _newest(self, model: str) -> ServedModel:
        versions: tuple[VersionStatus, ...] = ()
        try:
            versions = tuple(self._client.status(model))
            served = self._described(model, None)
        except (ModelUnavailableError, ContractError) as error:
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
