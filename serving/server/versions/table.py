"""The table of a model's versions: their states, and the version that a call gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.server.errors import LoadError, not_found
from serving.server.versions.policy import Failure, State
from serving.server.versions.servable import Servable, VersionState


@dataclass
class Version:
    """A version and its state. It may only be changed while the table's `changed` is held."""

    folder: Path
    state: State = State.START
    servable: Servable | None = None
    in_flight: int = 0
    failure: Failure | None = None
    error: LoadError | None = field(default=None, repr=False)


class VersionTable:
    """All versions that a model has had, by number. `changed` is the lock; it is notified when a call ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.changed = threading.Condition()
        self.versions: dict[int, Version] = {}

    @property
    def is_available(self) -> bool:
        """Return True if a version is AVAILABLE."""
        with self.changed:
            return self.available(None) is not None

    def states(self) -> list[VersionState]:
        """Return the state of every version that the model has had, newest first."""
        with self.changed:
            return [
                VersionState(
                    number, version.state, version.error.code if version.error else 0, str(version.error or "")
                )
                for number, version in sorted(self.versions.items(), reverse=True)
            ]

    @contextmanager
    def acquire(self, number: int | None) -> Iterator[tuple[int, Servable]]:
        """Hold a version (None: the newest AVAILABLE one) for a call; the context gives its number and the Servable.

        The version is not unloaded before the context ends. Raises NOT_FOUND if it is not available.
        """
        with self.changed:
            available = self.available(number)
            if available is None:
                raise unknown_servable(self.name, number)
            chosen, version, servable = available
            version.in_flight += 1
        try:
            yield chosen, servable
        finally:
            with self.changed:
                version.in_flight -= 1
                self.changed.notify_all()

    def available(self, number: int | None) -> tuple[int, Version, Servable] | None:
        """Return the version that a call of `number` gets, or None. The caller must hold `changed`."""
        numbers = sorted(self.versions, reverse=True) if number is None else [number]
        for candidate in numbers:
            version = self.versions.get(candidate)
            if version is not None and version.state is State.AVAILABLE and version.servable is not None:
                return candidate, version, version.servable
        return None


def unknown_servable(name: str, number: int | None) -> Exception:
    """Return NOT_FOUND for a model or version that is not served, with the words of TF Serving's servable_id.h."""
    which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return not_found(f"Servable not found for request: {which}")
