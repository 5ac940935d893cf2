"""Which versions of a model to load and unload, and when: pure decisions, as TF Serving makes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

_MOST: Final = 2**63 - 1


class State(IntEnum):
    """Where a version is in its life; the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions that are there to serve: those of `specific`, else all, else the newest `latest`."""

    latest: int = 1
    everything: bool = False
    specific: frozenset[int] | None = None

    @property
    def replaces(self) -> bool:
        """Whether a new version takes the place of an older one, rather than joining those that were asked for."""
        return self.specific is None and not self.everything


@dataclass(frozen=True)
class Action:
    """What to do next with one version."""

    what: Literal["load", "unload"]
    version: int


@dataclass(frozen=True)
class Failure:
    """The last failed try to load a version: how many there were, when (seconds), and what the folder held then."""

    tries: int
    at: float
    fingerprint: object


def version_number(folder_name: str) -> int | None:
    """The version a folder is, or None if its name is no 64-bit number: `00000123` is 123."""
    number = int(folder_name) if folder_name.isascii() and folder_name.isdigit() and len(folder_name) < 1000 else None
    return None if number is None or number > _MOST else number


def aspired_of(found: Collection[int], policy: VersionPolicy) -> frozenset[int]:
    """The versions that should be served, of those that are there."""
    if policy.specific is not None:
        return policy.specific.intersection(found)
    return frozenset(found if policy.everything else sorted(found)[-max(policy.latest, 1) :])


def next_action(states: Mapping[int, State], aspired: Collection[int]) -> Action | None:
    """The next step of the availability preserving policy (availability_preserving_policy.cc), None if all is well.

    The old version is unloaded only when an aspired one is available, or none is aspired any more.
    """
    serving = {version for version, state in states.items() if state is State.AVAILABLE}
    unwanted = serving.difference(aspired)
    if unwanted and (not aspired or serving.intersection(aspired) or len(unwanted) > 1):
        return Action("unload", min(unwanted))
    waiting = [version for version in aspired if states.get(version) is State.START]
    return Action("load", max(waiting)) if waiting else None


def gives_up(failure: Failure, *, retries: int) -> bool:
    """Whether the version ends with its error: after the first try and so many more."""
    return failure.tries > retries


def tries_again(failure: Failure, *, retries: int, interval: float, now: float, fingerprint: object) -> bool:
    """Whether to load a failed version once more now: its folder changed, or its turn has come.

    A changed folder is tried at once, and even after the version has ended: TF Serving would let a half-copied
    folder wait a minute for each try, and never look again at one that it gave up.
    """
    if fingerprint != failure.fingerprint:
        return True
    return not gives_up(failure, retries=retries) and now - failure.at >= interval
