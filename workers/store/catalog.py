"""What workers publish about models, for the API to read: it never asks a model server itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.contract import Contract, VersionStatus
from workers.errors import UnknownModelError
from workers.io.redis_link import RedisLink, translated

_PUBLISHED_SECONDS = 60  # what was published is not believed for longer
_CONTRACT_SECONDS = 30 * 86400  # results are read long after their version went


@dataclass(frozen=True)
class Published:
    """What a worker last found: `error` is empty and the rest is given where the model is available."""

    model: str
    error: str
    version: int | None = None
    contract: str = ""  # JSON
    versions: tuple[VersionStatus, ...] = ()  # all that the server tells of, newest first

    @property
    def available(self) -> bool:
        """Whether a worker reached the model within the last minute."""
        return not self.error


class Catalog:
    """The published models. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def publish(self, found: Published) -> None:
        """Tell everyone what was found."""
        versions = json.dumps([[one.version, one.state, one.error] for one in found.versions])
        stored = {
            "error": found.error,
            "version": found.version or "",
            "contract": found.contract,
            "versions": versions,
        }
        with translated(), self._link.client.pipeline(transaction=True) as pipe:
            pipe.hset(_key(found.model), mapping=stored)
            pipe.expire(_key(found.model), _PUBLISHED_SECONDS)
            if found.contract:
                pipe.set(_contract_key(found.model, found.version), found.contract, ex=_CONTRACT_SECONDS)
            pipe.execute()

    def look_up(self, model: str) -> Published | None:
        """What workers know about a model; None where none has looked lately."""
        with translated():
            stored = self._link.client.hgetall(_key(model))
        if not stored:
            return None
        versions = tuple(VersionStatus(*one) for one in json.loads(stored["versions"]))
        return Published(model, stored["error"], int(stored["version"] or 0) or None, stored["contract"], versions)

    def contracts(self, model: str, versions: Iterable[int]) -> list[Contract]:
        """The contracts of versions that workers used within the last 30 days, newest version first."""
        keys = [_contract_key(model, version) for version in sorted(versions, reverse=True)]
        with translated():
            found = self._link.client.mget(keys) if keys else []
        return [Contract.from_json(text) for text in found if text]

    def check(self, model: str, version: int | None, served: Sequence[str]) -> None:
        """Raise UnknownModelError for a model that is none of those `served`, or a version that it does not have.

        A model of the settings is accepted whether or not its server is up: the job waits for it. A version is refused
        only where workers lately found others.
        """
        if model not in served:
            known = ", ".join(served)
            raise UnknownModelError(f"There is no model {model!r} here; there is {known}. See SHELFLINE_MORE_MODELS.")
        published = self.look_up(model) if version is not None else None
        if published is None or not published.available:
            return
        there = [one.version for one in published.versions if one.state == "AVAILABLE"]
        if version not in there:
            known = ", ".join(map(str, there))
            raise UnknownModelError(f"Version {version} of model {model!r} is not served; there is {known}.")

    def forget(self, model: str) -> None:
        """Believe nothing about a model until a worker has looked again."""
        with translated():
            self._link.client.delete(_key(model))


def _contract_key(model: str, version: int | None) -> str:
    return f"sl:contract:{model}:{version}"


def _key(model: str) -> str:
    return f"sl:served:{model}"
