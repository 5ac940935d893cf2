"""One process of the worker pool: its connections, opened after the fork, and its tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from celery import Celery

from serving.errors import ContractError, ModelUnavailableError, VersionGoneError
from workers.duties import MAX_DUTIES
from workers.errors import ImageVersionGoneError, StoreUnavailableError
from workers.health import ATTENDED_SECONDS, WORKER_SEEN_KEY, note_worker
from workers.io.redis_link import RedisLink, translated
from workers.jobs.lanes import DETECT_TASK
from workers.jobs.options import parse_target
from workers.pipeline.context import PipelineContext
from workers.pipeline.pipeline import Pipeline
from workers.queue.celery_app import create_celery
from workers.queue.time_limits import TimeLimits
from workers.queue.wakeups import DUTIES_TASK, PROBE_SECONDS, PROBE_TASK, UPKEEP_QUEUE, CeleryWakeUps, wakeup_key
from workers.queue.work_queue import breaker_key
from workers.settings import Settings
from workers.telemetry.repetition import Repetition

log = structlog.get_logger(__name__)

_WAIT_FOR_DUTIES: Final = 5.0  # seconds


def register_tasks(app: Celery, runtime: Callable[[], Runtime]) -> None:
    """Register the Celery tasks. `runtime` returns the runtime of this process, opened at first use."""

    @app.task(name=DETECT_TASK)
    def detect(target: str) -> None:
        runtime().detect(target)

    @app.task(name=DUTIES_TASK)
    def duties() -> None:
        runtime().do_duties()

    @app.task(name=PROBE_TASK)
    def probe() -> None:
        runtime().probe()


class Runtime:
    """The connections, threads and tasks of one process of the worker pool.

    `stop` makes it settle the batch in flight and hand back its other images. If one of its threads hangs, it stops
    likewise and calls `replace`, which is to end the process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        replace: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._waits = Repetition()
        self._probe_errors: dict[str, str] = {}  # by model: the error code of its last probe, if that failed
        # A worker with images in flight waits two leases for Redis: later, others have taken the images over.
        self._link = RedisLink(settings.redis_url, patience=2 * settings.lease_seconds)
        self._wakeups = CeleryWakeUps(self._link, create_celery(settings))
        self._replace = replace
        grace = settings.predict_timeout_seconds + settings.image_seconds  # for the batch in flight
        self._limits = TimeLimits(self._end_stuck, beat=beat, grace=grace)
        self._context = PipelineContext(
            settings,
            self._link,
            self._limits,
            wake=self._wakeups.wake,
            may_continue=self._may_continue,
            draining=self._stopping.is_set,
        )
        self._models = self._context.models

    def stop(self) -> None:
        """Claim nothing from now on. Safe to call from a signal handler."""
        self._stopping.set()

    def _end_stuck(self) -> None:
        self.stop()
        self._replace()

    @property
    def is_stuck(self) -> bool:
        """Whether a thread of this process hangs, so that the process cannot end in the ordinary way."""
        return self._limits.exceeded

    def end_traces(self) -> None:
        """Send the remaining spans, for a process that ends without calling atexit handlers."""
        self._context.tracer.close()

    def close(self) -> None:
        """End the process's threads and connections. No task may be running any more."""
        self._stopping.set()
        self._context.close()
        self._limits.stop()
        self._wakeups.close()
        self._link.close()

    def detect(self, target: str) -> None:
        """Process a target's lanes for a time slice, and send another wake-up if work is left."""
        if self._stopping.is_set():
            return
        try:
            if self._accept_wakeup(target):
                return
            if self._pipeline(target).run():
                self._wakeups.wake(target)
        except (ModelUnavailableError, ContractError, StoreUnavailableError) as error:
            # Claimed images were handed back. The sweep sends wake-ups until they can be processed.
            if not isinstance(error, StoreUnavailableError):
                self._context.attend(target, consuming=True)
            if self._waits.is_due(target, error.code):  # the sweep tries twice a second
                log.warning("work waits", target=target, code=error.code, error=str(error))
        else:
            self._waits.is_over(target)

    def _pipeline(self, target: str) -> Pipeline:
        """Return a pipeline for a target, with its version or, if that has been gone for too long, the newest one.

        Raises VersionGoneError if the version has been gone for a shorter time, or the model has no version at all.
        """
        model, version = parse_target(target)
        try:
            served = self._models.current(target)
        except VersionGoneError:
            patience = self._settings.version_gone_seconds
            if version is None or self._context.queue.version_gone(target) < patience:
                raise
            gone = ImageVersionGoneError(
                f"Version {version} of the model {model} has not been served for {patience:g} s: submit the image for "
                "another version, or without model_version."
            )
            return Pipeline(self._context, target, self._models.current(model), gone)
        if version is not None:
            self._context.queue.version_found(target)
        return Pipeline(self._context, target, served)

    def _accept_wakeup(self, target: str) -> bool:
        """Accept a wake-up, so that later work causes another one; return whether the target's breaker is open."""
        with translated(), self._link.client.pipeline(transaction=False) as pipe:
            pipe.set(WORKER_SEEN_KEY, "1", ex=ATTENDED_SECONDS)
            pipe.delete(wakeup_key(target))
            pipe.exists(breaker_key(target))
            return bool(pipe.execute()[-1])

    def _may_continue(self, target: str, version: int) -> bool:
        """Return whether a pipeline may go on for another slice.

        It may if no other work waits and its version is still the newest. Ending a pipeline and beginning another
        leaves the model about 0.4 s without work (measured).
        """
        try:
            if (
                self._link.run("lanes/others_waiting", target, UPKEEP_QUEUE)
                or self._models.current(target).version != version
            ):
                return False
            note_worker(self._link)
            if self._settings.served_models == (target,):
                self._wakeups.upkeep_done(PROBE_TASK, again_in=PROBE_SECONDS)  # the model has just been probed
        except (ModelUnavailableError, ContractError, StoreUnavailableError):
            return False
        return True

    def do_duties(self) -> None:
        """Have a thread do due duties. It is waited for a while only: it may have many, or hang in the blob store."""
        with suppress(TimeoutError):
            self._context.upkeep_thread.submit(self._do_duties).result(_WAIT_FOR_DUTIES)

    def _do_duties(self) -> None:
        try:
            tried = self._context.duties.run_due()
        except StoreUnavailableError as error:
            log.warning("duties wait", error=str(error))
            return
        if tried == MAX_DUTIES and not self._stopping.is_set():
            self._context.upkeep_thread.submit(self._do_duties)

    def probe(self) -> None:
        """Probe the models that jobs may ask for, and publish what is found."""
        try:
            note_worker(self._link)
        except StoreUnavailableError as error:
            log.warning("probe failed", error=str(error))
            return
        for model in self._settings.served_models:
            try:
                self._models.current(model, fresh=True)
                self._probe_errors.pop(model, None)
            except (ModelUnavailableError, ContractError, StoreUnavailableError) as error:
                if self._probe_errors.get(model) != error.code:  # log an error once, not at every probe
                    log.warning("model not available", model=model, code=error.code, error=str(error))
                self._probe_errors[model] = error.code
