"""The contracts that a worker process holds, each pinned to its version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from serving.client import ModelClient, ServedModel
from serving.description import Description, read_description
from serving.errors import ContractError, ModelUnavailableError
from serving.life import VersionStatus
from workers.catalog import Catalog, Published

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

    def _description(self, model: str) -> Description | None:
        """What the operator wrote about a model, read anew each time: it may change with the model's versions."""
        path = self._contracts / model / "contract.toml" if self._contracts else None
        return read_description(path) if path and path.is_file() else None

    def current(self, model: str, *, fresh: bool = False) -> ServedModel:
        """The newest version of a model and its contract, at most two seconds old, or just asked for with `fresh`.

        Raises ModelUnavailableError, ContractError, StoreUnavailableError; what it finds is published either way.
        """
        with self._lock:
            held = self._held.get(model)
        if held is not None and not fresh and self._clock() - held[0] < _REFRESH_SECONDS:
            return held[1]
        versions: tuple[VersionStatus, ...] = ()
        try:
            versions = tuple(self._client.status(model))
            served = self._client.describe(model, instead=self._description(model))
        except (ModelUnavailableError, ContractError) as error:
            with self._lock:
                self._held.pop(model, None)
            self._catalog.publish(Published(model, str(error) or error.code, versions=versions))
            raise
        with self._lock:
            self._held[model] = (self._clock(), served)
        if held is None or held[1].version != served.version:
            log.info("model version", model=model, version=served.version)
        self._catalog.publish(Published(model, "", served.version, served.contract.to_json(), versions))
        return served
