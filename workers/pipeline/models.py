"""The contracts that a worker process holds, each pinned to its version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from serving.client import ModelClient, ServedModel
from serving.contract import VersionStatus
from serving.description import read_description
from serving.errors import ContractError, ModelUnavailableError
from workers.jobs.options import parse_target
from workers.store.catalog import Catalog, Published

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 2.0  # how soon a new version is noticed by a worker that is busy with the old one


class Models:
    """The contracts that this process holds; each is pinned to the version that answered with it."""

    def __init__(
        self,
        client: ModelClient,
        catalog: Catalog,
        contracts: Path | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._contracts = contracts
        self._clock = clock
        self._held: dict[str, tuple[float, ServedModel]] = {}
        self._lock = threading.Lock()

    def current(self, target: str, *, fresh: bool = False) -> ServedModel:
        """What a target (JobOptions.target) means now, at most two seconds old, or just asked for with `fresh`.

        That is the newest version of a model and its contract, or those of the version that the target names. What is
        found of the newest is published. Raises ModelUnavailableError, ContractError, StoreUnavailableError.
        """
        with self._lock:
            held = self._held.get(target)
        if held is not None and not fresh and self._clock() - held[0] < _REFRESH_SECONDS:
            return held[1]
        model, version = parse_target(target)
        try:
            served = self._newest(model) if version is None else self._described(model, version)
        except (ModelUnavailableError, ContractError):
            with self._lock:
                self._held.pop(target, None)
            raise
        with self._lock:
            self._held[target] = (self._clock(), served)
        if held is None or held[1].version != served.version:
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
    """A version of a model, the newest if none is given, and its contract; raises as ModelClient.describe does.

    What the operator wrote about a model is read anew each time: it may change with the model's versions.
    """
    path = contracts / model / "contract.toml" if contracts else None
    return client.describe(model, version, instead=read_description(path) if path and path.is_file() else None)
