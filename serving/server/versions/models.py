"""The models of a server: replace their configuration, and find the version that a ModelSpec means."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from serving.server.errors import invalid_argument, unknown
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import ModelConfig, check_labels
from serving.server.versions.policy import State, VersionPolicy
from serving.server.versions.servable import Servable
from serving.server.versions.table import unknown_servable
from serving.wire.protos import ProtoMessage

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.05


class Models:
    """All models by name. Models that are not configured any more are included: GetModelStatus still reports them.

    `make` creates the Lifecycle of a name, not configured and not started. Source: TF Serving's server_core.cc.
    """

    def __init__(self, make: Callable[[str], Lifecycle], *, labels_may_come_first: bool = False) -> None:
        self._make = make
        self._labels_may_come_first = labels_may_come_first
        self._by_name: dict[str, Lifecycle] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._configured: frozenset[str] = frozenset()
        self._unlogged: frozenset[str] = frozenset()  # models whose logging_config the log has a word about
        self._reloading = threading.Lock()
        self._stopping = False

    @property
    def configured(self) -> list[Lifecycle]:
        """Return the models of the current configuration, sorted by name."""
        return [self._by_name[name] for name in sorted(self._configured)]

    def configure(self, configs: Sequence[ModelConfig], *, quiet: bool = False) -> list[Lifecycle]:
        """Replace the configuration. Return the new models, which are not loaded yet.

        With `quiet`, load failures of new models are not logged. Raises StatusError, without any change, if a label is
        assigned to a version that is not available.
        """
        by_name = dict(self._by_name)
        given = self._labels if self._labels_may_come_first else None
        check_labels(configs, {name: _available(model) for name, model in by_name.items()}, given)
        for config in configs:
            if config.name not in by_name:
                by_name[config.name] = made = self._make(config.name)
                made.is_quiet = quiet
                made.configure(config.base_path, config.policy)
                made.start()
            else:
                by_name[config.name].configure(config.base_path, config.policy)
        wanted = frozenset(config.name for config in configs)
        for name in self._configured - wanted:
            by_name[name].configure(None, VersionPolicy())
        unlogged = frozenset(config.name for config in configs if config.logs_requests)
        for name in sorted(unlogged - self._unlogged):  # once, however often the file is read
            _log.warning("logging_config of model %s has no effect here: requests are not logged", name)
        self._unlogged = unlogged
        new = sorted(wanted - self._configured)
        self._labels = {config.name: dict(config.labels) for config in configs}
        self._by_name, self._configured = by_name, wanted
        return [by_name[name] for name in new]

    def reload(self, configs: Sequence[ModelConfig], is_awaited: Callable[[], bool] = lambda: True) -> None:
        """Replace the configuration and wait until the new models are available or `is_awaited` returns False.

        A later configuration ends the wait for the models that it leaves out. TF Serving would only read it after the
        wait. Raises StatusError if a label is wrong, and UNKNOWN if a new model could not be loaded.
        """
        with self._reloading:
            new = self.configure(configs)
        while is_awaited() and any(not model.is_available and self._may_come(model) for model in new):
            time.sleep(_POLL_SECONDS)
        failed = [model for model in new if not model.is_available]
        if failed and is_awaited():
            versions = "".join(
                f"{{name: {model.name} version: {number}}}, " for model in failed for number in sorted(model.failures)
            )
            raise unknown(f"Some models did not become available: {{{versions}}}")

    def _may_come(self, model: Lifecycle) -> bool:
        return model.name in self._configured and not model.is_hopeless and not self._stopping

    def stop(self) -> None:
        """Stop loading and unloading, and end the wait of reloads. Available versions stay available."""
        self._stopping = True
        for model in self._by_name.values():
            model.stop()

    def find(self, name: str) -> Lifecycle | None:
        """Return the model of a name, configured now or earlier, or None."""
        return self._by_name.get(name)

    def acquire(self, spec: ProtoMessage) -> AbstractContextManager[tuple[int, Servable]]:
        """Hold the version that a ModelSpec means for a call; the context gives its number and the Servable.

        Raises StatusError: INVALID_ARGUMENT without a name or for an unknown label, NOT_FOUND if it is not available.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = self.version_asked(spec)
        model = self._by_name.get(spec.name)
        if model is None:
            raise unknown_servable(spec.name, version)
        return model.acquire(version)

    def version_asked(self, spec: ProtoMessage) -> int | None:
        """Return the version number of a ModelSpec or of its label, or None for the newest version.

        Raises INVALID_ARGUMENT for an unknown label.
        """
        if spec.WhichOneof("version_choice") == "version_label":
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            return version
        return int(spec.version.value) if spec.HasField("version") else None


def _available(model: Lifecycle) -> list[int]:
    return [state.version for state in model.states() if state.state is State.AVAILABLE]
