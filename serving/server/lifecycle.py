"""A model's versions from folder to memory and back: the effects that `versions.py` decides on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.server.errors import LoadError, not_found
from serving.server.fitness import unfit
from serving.server.folders import fingerprint, version_folders
from serving.server.servable import Servable, VersionState
from serving.server.versions import Failure, State, aspired_of, gives_up, next_action, tries_again

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_FAILED_PRECONDITION = 9


@dataclass
class _Version:
    folder: Path
    state: State = State.START
    servable: Servable | None = None
    in_flight: int = 0
    failure: Failure | None = None
    error: LoadError | None = field(default=None, repr=False)


class Lifecycle:
    """Serves the newest version under `base`; a thread of its own loads and unloads.

    `load` makes a Servable of a version's folder or raises LoadError. Source of the behaviour: TF Serving's
    file_system_storage_path_source.cc and basic_manager.cc. Unlike there, a version that fails to load holds up no
    other, and is tried sooner if its folder changes; and one that is not fit to replace the other fails to load.
    """

    def __init__(
        self,
        name: str,
        base: Path,
        load: Callable[[Path], Servable],
        *,
        poll_seconds: float = 1.0,
        retries: int = 5,
        retry_seconds: float = 60.0,
    ) -> None:
        self.name = name
        self._base = base
        self._load = load
        self._poll_seconds = poll_seconds
        self._retries = retries
        self._retry_seconds = retry_seconds
        self._versions: dict[int, _Version] = {}
        self._aspired: frozenset[int] = frozenset()
        self._polled = False
        self._changed = threading.Condition()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to poll and load, in a daemon thread: a load cannot be interrupted, and must not hold up the exit."""
        threading.Thread(target=self._run, name=f"lifecycle-{self.name}", daemon=True).start()

    def stop(self) -> None:
        """Load and unload no more; what is available stays so."""
        self._stop.set()

    @property
    def is_available(self) -> bool:
        """Whether any version can be called."""
        with self._changed:
            return any(version.state is State.AVAILABLE for version in self._versions.values())

    @property
    def is_hopeless(self) -> bool:
        """Whether all there is to serve has been given up."""
        with self._changed:
            wanted = [self._versions[number] for number in self._aspired]
            return bool(wanted) and all(version.state is State.END for version in wanted)

    def states(self) -> list[VersionState]:
        """Every version there has been, newest first."""
        with self._changed:
            return [
                VersionState(
                    number, version.state, version.error.code if version.error else 0, str(version.error or "")
                )
                for number, version in sorted(self._versions.items(), reverse=True)
            ]

    @contextmanager
    def acquire(self, number: int | None) -> Iterator[tuple[int, Servable]]:
        """The version (the newest available if None) and its number; it is not unloaded before the context ends.

        Raises StatusError NOT_FOUND where it is not available.
        """
        with self._changed:
            found = self._available(number)
            if found is None:
                which = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
                raise not_found(f"Servable not found for request: {which}")
            chosen, version, servable = found
            version.in_flight += 1
        try:
            yield chosen, servable
        finally:
            with self._changed:
                version.in_flight -= 1
                self._changed.notify_all()

    def run_once(self) -> None:
        """Look once and do all there is to do now."""
        if self._poll_seconds > 0 or not self._polled:
            self._poll()
        self._retry()
        while not self._stop.is_set():
            with self._changed:
                states = {number: version.state for number, version in self._versions.items()}
            action = next_action(states, self._aspired)
            if action is None:
                return
            if action.what == "load":
                self._load_version(action.version)
            else:
                self._unload_version(action.version)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_once()
            except Exception:  # noqa: BLE001 - the thread must live on
                _log.exception("looking for versions of %s failed; the next try follows", self.name)
            self._stop.wait(self._poll_seconds or _TICK_SECONDS)

    def _available(self, number: int | None) -> tuple[int, _Version, Servable] | None:
        numbers = sorted(self._versions, reverse=True) if number is None else [number]
        for candidate in numbers:
            version = self._versions.get(candidate)
            if version is not None and version.state is State.AVAILABLE and version.servable is not None:
                return candidate, version, version.servable
        return None

    def _poll(self) -> None:
        try:
            found = version_folders(self._base)
        except OSError as error:  # as TF Serving does: what is loaded stays, while the folder is away
            _log.warning("cannot look for versions of %s: %s", self.name, error)
            return
        self._polled = True
        aspired = aspired_of(found)
        with self._changed:
            for number in aspired - self._aspired:
                version = self._versions.get(number)
                if version is None or version.state is State.END:
                    self._versions[number] = _Version(found[number])
            for number in self._aspired - aspired:
                version = self._versions[number]
                if version.state in {State.START, State.LOADING}:  # its next try will not come
                    version.state = State.END
            self._aspired = aspired

    def _retry(self) -> None:
        for number in self._aspired:
            version = self._versions[number]
            failure = version.failure
            if failure is None or version.state not in {State.LOADING, State.END}:
                continue
            now_there = fingerprint(version.folder)
            if tries_again(
                failure,
                retries=self._retries,
                interval=self._retry_seconds,
                now=time.monotonic(),
                fingerprint=now_there,
            ):
                with self._changed:
                    version.state = State.START
                    version.failure = failure if now_there == failure.fingerprint else None

    def _load_version(self, number: int) -> None:
        version = self._versions[number]
        with self._changed:
            version.state = State.LOADING
        held = fingerprint(version.folder)
        began = time.monotonic()
        try:
            servable = self._load_fit(number, version.folder)
        except LoadError as error:
            self._note_failure(number, version, error, held)
            return
        except Exception as error:  # noqa: BLE001 - the version is told, and the thread must live on
            _log.exception("loading %s version %d broke", self.name, number)
            self._note_failure(number, version, LoadError(f"{type(error).__name__}: {error}"), held)
            return
        with self._changed:
            version.servable, version.failure, version.error = servable, None, None
            version.state = State.AVAILABLE
            self._changed.notify_all()
        _log.info("%s version %d is available, loaded in %.1f s", self.name, number, time.monotonic() - began)

    def _load_fit(self, number: int, folder: Path) -> Servable:
        servable = self._load(folder)
        with self._changed:
            served = self._available(None)
            before = (served[0], list(served[2].signatures)) if served else None
        reason = unfit(list(servable.signatures), base=self._base, number=number, served=before)
        if reason:
            servable.close()
            raise LoadError(reason, _FAILED_PRECONDITION)
        return servable

    def _note_failure(self, number: int, version: _Version, error: LoadError, held: object) -> None:
        tries = version.failure.tries + 1 if version.failure else 1
        failure = Failure(tries, time.monotonic(), held)
        ends = gives_up(failure, retries=self._retries)
        with self._changed:
            version.failure, version.error = failure, error
            version.state = State.END if ends else State.LOADING
        what = "given up" if ends else f"next try in {self._retry_seconds:.0f} s or when its folder changes"
        first_line = str(error).partition("\n")[0]
        _log.error("%s version %d failed to load (try %d, %s): %s", self.name, number, tries, what, first_line)

    def _unload_version(self, number: int) -> None:
        version = self._versions[number]
        with self._changed:
            version.state = State.UNLOADING
            while version.in_flight and not self._stop.is_set():
                self._changed.wait(0.2)
            if version.in_flight:
                return
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        with self._changed:
            version.state = State.END
        _log.info("%s version %d is unloaded", self.name, number)
