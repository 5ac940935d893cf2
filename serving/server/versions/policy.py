"""Decide which versions of a model to load and unload, and when; pure, with TF Serving's rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

_MAX_NUMBER: Final = 2**63 - 1

Action = tuple[Literal["load", "unload"], int]  # on which version


class State(IntEnum):
    """The state of a version, with the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions to serve: `specific` if set, else all if `everything`, else the newest `latest` versions."""

    latest: int = 1
    everything: bool = False
    specific: frozenset[int] | None = None

    @property
    def replaces(self) -> bool:
        """Return True if a new version replaces an older one, which is the case for the policy `latest`."""
        return self.specific is None and not self.everything


@dataclass(frozen=True)
class Failure:
    """The last failed load of a version.

    `tries` counts the failed loads, `at` is the time in seconds of `time.monotonic`, `fingerprint` is that of the
    folder at the load.
    """

    tries: int
    at: float
    fingerprint: object


def version_number(folder_name: str) -> int | None:
    """Return the version of a folder name (`00000123` is 123), or None if it is not a number of 64 bits."""
    number = int(folder_name) if folder_name.isascii() and folder_name.isdigit() and len(folder_name) < 1000 else None
    return None if number is None or number > _MAX_NUMBER else number


def aspired_of(numbers: Collection[int], policy: VersionPolicy) -> frozenset[int]:
    """Return the versions that should be served (TF Serving: aspired) among those that exist."""
    if policy.specific is not None:
        return policy.specific.intersection(numbers)
    return frozenset(numbers if policy.everything else sorted(numbers)[-max(policy.latest, 1) :])


def next_action(states: Mapping[int, State], aspired: Collection[int]) -> Action | None:
    """Return the next action of TF Serving's availability_preserving_policy.cc, or None if there is nothing to do.

    The last old version is unloaded only when an aspired version is available or no version is aspired.
    """
    serving = {version for version, state in states.items() if state is State.AVAILABLE}
    unwanted = serving.difference(aspired)
    if unwanted and (not aspired or serving.intersection(aspired) or len(unwanted) > 1):
        return "unload", min(unwanted)
    waiting = [version for version in aspired if states.get(version) is State.START]
    return ("load", max(waiting)) if waiting else None


def gives_up(failure: Failure, *, retries: int) -> bool:
    """Return True if the version ends (END) with its error: the first load and all retries have failed."""
    return failure.tries > retries


def tries_again(failure: Failure, *, retries: int, interval: float, now: float, fingerprint: object) -> bool:
    """Return True if a failed version is to be loaded again now.

    That is the case if its folder has changed, even after the version has ended, or if `interval` seconds have passed
    and retries are left. TF Serving does not look at changes: a half-copied folder waits a minute for each retry, and
    a version that has ended is never loaded again.
    """
    if fingerprint != failure.fingerprint:
        return True
    return not gives_up(failure, retries=retries) and now - failure.at >= interval
