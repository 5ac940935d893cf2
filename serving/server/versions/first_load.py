"""Wait at the start until all models are available, or until one of them certainly cannot be loaded."""

from __future__ import annotations

import logging
import time
from typing import Final

from serving.server.stop import Stop
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.models import Models

_log = logging.getLogger(__name__)

_STUCK_SECONDS: Final = 3.0
_REMIND_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1


def wait_for_models(models: Models, stop: Stop, *, retries: bool) -> str | None:
    """Wait for the first load. Return why a model cannot be served, or None if all can or if `stop` was signalled.

    The server opens its port after this wait, as TF Serving does. The wait goes on while a model's folder has no
    version, and while the folder of a version that failed still changes, because it may be a copy in progress.

    A model cannot be served if all its wanted versions have ended (END) after their retries. Without `retries`, it is
    enough that all of them failed to load and that their folders have not changed for 3 s.
    """
    remind_at = time.monotonic() + _REMIND_SECONDS
    stuck_since: float | None = None
    while waiting := [model for model in models.configured if not model.is_available]:
        if stop.wait(_POLL_SECONDS):
            return None
        stuck = [model for model in waiting if model.is_stuck]
        stuck_since = (stuck_since or time.monotonic()) if stuck else None
        hopeless = [model for model in waiting if model.is_hopeless]
        if stuck_since and not retries and time.monotonic() - stuck_since >= _STUCK_SECONDS:
            hopeless = stuck
        if hopeless:
            return f"no version of {hopeless[0].name} could be loaded: {_failures(hopeless[0])}"
        if time.monotonic() >= remind_at:
            remind_at += _REMIND_SECONDS
            for model in waiting:
                _log.info("waiting: %s", _progress(model))
    for model in models.configured:
        model.is_quiet = False
    return None


def _progress(model: Lifecycle) -> str:
    if model.failures:
        return f"{model.name} does not load yet: {_failures(model)}"
    return f"{model.name} loads" if model.states() else f"no version of {model.name} under {model.base} yet"


def _failures(model: Lifecycle) -> str:
    return "; ".join(f"version {number}: {error.first_line}" for number, error in sorted(model.failures.items()))
