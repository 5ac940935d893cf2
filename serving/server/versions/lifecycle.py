"""Load and unload the versions of a model, as the decisions of `policy.py` say."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.server.errors import LoadError
from serving.server.versions.fitness import unfit
from serving.server.versions.folders import fingerprint, version_folders
from serving.server.versions.policy import Failure, State, VersionPolicy, aspired_of, gives_up, next_action, tries_again
from serving.server.versions.servable import Servable
from serving.server.versions.table import Version, VersionTable

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_FAILED_PRECONDITION = 9


class Lifecycle(VersionTable):
    """The versions of one model, and the thread that loads and unloads them as the model's configuration asks.

    `load` makes a Servable of a version's folder or raises LoadError. `poll_seconds` is the time between two looks at
    the folder (0: one look); `retries` and `retry_seconds` are the number of retries of a failed load and the time
    between them.

    Source of the behaviour: TF Serving's file_system_storage_path_source.cc and basic_manager.cc. There are three
    differences. A version that fails to load does not delay other versions. It is retried at once when its folder
    changes. A version that lacks signatures of the version it would replace fails to load (see `unfit`).
    """

    def __init__(
        self,
        name: str,
        load: Callable[[Path], Servable],
        *,
        poll_seconds: float = 1.0,
        retries: int = 5,
        retry_seconds: float = 60.0,
    ) -> None:
        super().__init__(name)
        self.is_quiet = False  # if True, failures are not logged: the first load reports them at its end
        self._load = load
        self._poll_seconds = poll_seconds
        self._retries = retries
        self._retry_seconds = retry_seconds
        self.base: Path | None = None  # the folder of the versions; None if the model is not configured any more
        self._policy = VersionPolicy()
        self._aspired: frozenset[int] = frozenset()
        self._polled = False
        self._is_away = False
        self._awake = threading.Event()
        self._stopped = threading.Event()

    def configure(self, base: Path | None, policy: VersionPolicy) -> None:
        """Serve the versions in the folder `base` that the policy asks for; None unloads all versions."""
        with self.changed:
            self.base, self._policy, self._polled = base, policy, False
        self._awake.set()

    def start(self) -> None:
        """Start the daemon thread that polls and loads. A load cannot be interrupted and must not delay the exit."""
        threading.Thread(target=self._run, name=f"lifecycle-{self.name}", daemon=True).start()

    def stop(self) -> None:
        """Stop loading and unloading. Available versions stay available."""
        self._stopped.set()
        self._awake.set()

    @property
    def failures(self) -> dict[int, LoadError]:
        """Return the error of each wanted version whose last load failed, by version."""
        return {number: version.error for number, version in self._wanted().items() if version.error is not None}

    @property
    def is_hopeless(self) -> bool:
        """Return True if there are wanted versions and all of them have ended (END)."""
        wanted = self._wanted()
        return bool(wanted) and all(version.state is State.END for version in wanted.values())

    @property
    def is_stuck(self) -> bool:
        """Return True if all wanted versions failed to load and their folders have not changed since.

        A folder that changes may be a copy in progress, so its model is not stuck.
        """
        wanted = self._wanted()
        return bool(wanted) and all(
            version.failure is not None and version.failure.fingerprint == fingerprint(version.folder)
            for version in wanted.values()
        )

    def _wanted(self) -> dict[int, Version]:
        with self.changed:
            return {number: self.versions[number] for number in self._aspired}

    def run_once(self) -> None:
        """Poll the folder once, then load and unload versions until nothing is left to do."""
        if self._poll_seconds > 0 or not self._polled:
            self._poll()
        self._retry()
        while not self._stopped.is_set():
            with self.changed:
                states = {number: version.state for number, version in self.versions.items()}
            action = next_action(states, self._aspired)
            if action is None:
                return
            what, number = action
            if what == "load":
                self._load_version(number)
            else:
                self._unload_version(number)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._awake.clear()
            try:
                self.run_once()
            except Exception:  # noqa: BLE001 - the thread must live on
                _log.exception("looking for versions of %s failed; the next try follows", self.name)
            self._awake.wait(self._poll_seconds or _TICK_SECONDS)

    def _poll(self) -> None:
        with self.changed:
            base, policy = self.base, self._policy
            self._polled = True
        try:
            folders = version_folders(base) if base is not None else {}
        except OSError as error:  # as in TF Serving, loaded versions stay while the folder cannot be read
            if not self._is_away:
                _log.warning("cannot look for versions of %s: %s", self.name, error)
            self._polled, self._is_away = False, True
            return
        self._is_away = False
        aspired = aspired_of(folders, policy)
        with self.changed:
            for number in aspired - self._aspired:
                version = self.versions.get(number)
                if version is None or version.state is State.END:
                    self.versions[number] = Version(folders[number])
            for number in self._aspired - aspired:
                version = self.versions[number]
                if version.state in {State.START, State.LOADING}:  # it will not be retried
                    version.state = State.END
            self._aspired = aspired

    def _retry(self) -> None:
        for number in self._aspired:
            version = self.versions[number]
            failure = version.failure
            if failure is None or version.state not in {State.LOADING, State.END}:
                continue
            current, now = fingerprint(version.folder), time.monotonic()
            if tries_again(failure, retries=self._retries, interval=self._retry_seconds, now=now, fingerprint=current):
                with self.changed:
                    version.state = State.START
                    version.failure = failure if current == failure.fingerprint else None

    def _load_version(self, number: int) -> None:
        version = self.versions[number]
        with self.changed:
            version.state = State.LOADING
        before = fingerprint(version.folder)
        began = time.monotonic()
        try:
            servable = self._load_fit(number, version.folder)
        except LoadError as error:
            self._note_failure(number, version, error, before)
            return
        except Exception as error:  # noqa: BLE001 - the version keeps the error, and the thread must live on
            _log.exception("loading %s version %d broke", self.name, number)
            self._note_failure(number, version, LoadError(f"{type(error).__name__}: {error}"), before)
            return
        with self.changed:
            version.servable, version.failure, version.error = servable, None, None
            version.state = State.AVAILABLE
        _log.info("%s version %d is available, loaded in %.1f s", self.name, number, time.monotonic() - began)

    def _load_fit(self, number: int, folder: Path) -> Servable:
        servable = self._load(folder)
        with self.changed:
            served = self.available(None) if self._policy.replaces else None
            before = (served[0], list(served[2].signatures)) if served else None
        reason = unfit(list(servable.signatures), base=folder.parent, number=number, served=before)
        if reason:
            servable.close()
            raise LoadError(reason, _FAILED_PRECONDITION)
        return servable

    def _note_failure(self, number: int, version: Version, error: LoadError, before: object) -> None:
        tries = version.failure.tries + 1 if version.failure else 1
        failure = Failure(tries, time.monotonic(), before)
        ends = gives_up(failure, retries=self._retries)
        with self.changed:
            version.failure, version.error = failure, error
            version.state = State.END if ends else State.LOADING
        if self.is_quiet:
            return
        what = "given up" if ends else f"next try in {self._retry_seconds:.0f} s or when its folder changes"
        _log.error("%s version %d failed to load (try %d, %s): %s", self.name, number, tries, what, error.first_line)

    def _unload_version(self, number: int) -> None:
        version = self.versions[number]
        with self.changed:
            version.state = State.UNLOADING
            while version.in_flight and not self._stopped.is_set():
                self.changed.wait(0.2)
            if version.in_flight:
                return
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        with self.changed:
            version.state = State.END
        _log.info("%s version %d is unloaded", self.name, number)
