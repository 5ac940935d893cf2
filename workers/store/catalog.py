"""What workers publish about models. The API reads it here and never asks a model server itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.contract import Contract, VersionStatus
from workers.errors import UnknownModelError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Job

_PUBLISHED_SECONDS = 60  # until what was published expires
_CONTRACT_SECONDS = 30 * 86400  # longer, since results are read long after their version was unloaded


@dataclass(frozen=True)
class Published:
    """What a worker last found about a model. `error` is '' if the model is available; then the rest is set."""

    model: str
    error: str
    version: int | None = None
    contract: str = ""  # JSON
    versions: tuple[VersionStatus, ...] = ()  # all that the model server reports, newest first

    @property
    def available(self) -> bool:
        """Whether a worker reached the model within the last minute."""
        return not self.error


class Catalog:
    """The published models. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def publish(self, state: Published) -> None:
        """Publish the state of a model for a minute, and its contract for 30 days."""
        versions = json.dumps([[version.version, version.state, version.error] for version in state.versions])
        stored = {
            "error": state.error,
            "version": state.version or "",
            "contract": state.contract,
            "versions": versions,
        }
        with translated(), self._link.client.pipeline(transaction=True) as pipe:
            pipe.hset(_key(state.model), mapping=stored)
            pipe.expire(_key(state.model), _PUBLISHED_SECONDS)
            if state.contract:
                pipe.set(_contract_key(state.model, state.version), state.contract, ex=_CONTRACT_SECONDS)
            pipe.execute()

    def look_up(self, model: str) -> Published | None:
        """Return what a worker found about a model; None if no worker published anything within the last minute."""
        with translated():
            stored = self._link.client.hgetall(_key(model))
        if not stored:
            return None
        versions = tuple(VersionStatus(*fields) for fields in json.loads(stored["versions"]))
        return Published(model, stored["error"], int(stored["version"] or 0) or None, stored["contract"], versions)

    def state(self, model: str) -> Published:
        """Return what a worker found about a model. If no worker looked within the last minute, the error says so."""
        nobody = "No worker has looked for the model lately: check that one runs."
        return self.look_up(model) or Published(model, nobody)

    def waiting_for(self, job: Job) -> str | None:
        """Return why none of a job's images can be processed now.

        None if some are being processed, if no image waits, or if its model is available.
        """
        if not job.state.waits or not job.queued or job.running:
            return None
        model, version = job.options.model, job.options.model_version
        published = self.state(model)
        there = published.versions
        if version is None:
            if published.available:
                return None
            reason = published.error
        else:
            if any(status.version == version and status.state == "AVAILABLE" for status in there):
                return None
            reason = f"Version {version} of the model is not served." if there else published.error
        states = ", ".join(f"{each.version} is {each.state}{each.error and f' ({each.error})'}" for each in there)
        return f"The model {model} is not available: {reason}" + (f" Of its versions {states}." if states else "")

    def contracts(self, model: str, versions: Iterable[int]) -> list[Contract]:
        """Return the contracts of these versions, newest first; without those not published within the last 30 days."""
        keys = [_contract_key(model, version) for version in sorted(versions, reverse=True)]
        with translated():
            contracts = self._link.client.mget(keys) if keys else []
        return [Contract.from_json(text) for text in contracts if text]

    def check(self, model: str, version: int | None, served: Sequence[str]) -> None:
        """Raise UnknownModelError if the model is not among those `served`, or does not have the version.

        A model of the settings is accepted even if its server is down: the job waits for it. A version is refused only
        if a worker found the model available within the last minute, without this version.
        """
        if model not in served:
            choices = ", ".join(served)
            raise UnknownModelError(
                f"There is no model {model!r} here; choose from {choices}. To add it, export it into the folder that "
                "`shelfline up` serves; for another model server, name it in SHELFLINE_MORE_MODELS."
            )
        published = self.look_up(model) if version is not None else None
        if published is None or not published.available:
            return
        available = [status.version for status in published.versions if status.state == "AVAILABLE"]
        if version not in available:
            choices = ", ".join(map(str, available))
            raise UnknownModelError(f"Version {version} of model {model!r} is not served; choose from {choices}.")

    def forget(self, model: str) -> None:
        """Delete what was published about a model, so that it is unknown until a worker publishes again."""
        with translated():
            self._link.client.delete(_key(model))


def _contract_key(model: str, version: int | None) -> str:
    return f"sl:contract:{model}:{version}"


def _key(model: str) -> str:
    return f"sl:served:{model}"
