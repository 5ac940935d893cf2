"""A worker's sign of life for whoever runs it: a file whose time is renewed by the loop that takes the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from celery import Celery, bootsteps

from workers.errors import SettingsError

_EVERY: Final = 5.0  # seconds


def beat(app: Celery, path: Path | None) -> None:
    """Have the workers of an application touch this file while they hear their bells; raises SettingsError.

    The timer belongs to the event loop and to its connection: it stops with either.
    """
    if path is None:
        return
    touch = path.touch
    try:
        touch()
    except OSError as error:
        raise SettingsError(
            f"SHELFLINE_HEARTBEAT_FILE is wrong: {path} cannot be written: {error.strerror}."
        ) from error

    class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery carries no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:  # noqa: ANN401  likewise
            touch()
            self._timer = consumer.timer.call_repeatedly(_EVERY, touch)

        def stop(self, consumer: Any) -> None:  # noqa: ANN401, ARG002  likewise
            self._timer.cancel()

    app.steps["consumer"].add(Heartbeat)
