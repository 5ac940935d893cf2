"""Run the whole stack in the foreground."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from api.access.binding import checked_binding
from api.client.client import ShelflineClient
from api.commands.errors import StackError
from api.commands.stack.plan import PROJECT, StackPlan, plan_stack
from api.commands.stack.processes import ProcessGroup
from api.commands.stack.served_models import DEFAULT_MODEL, ModelConfigFile, main_model
from api.commands.stack.state import StackRecord, StackState
from serving.errors import ShelflineError
from workers.errors import StoreUnavailableError
from workers.health import WORKER_SEEN_KEY
from workers.io.blobs import check_blobs
from workers.io.redis_link import RedisLink, translated
from workers.process import CANNOT, die_with_parent
from workers.settings import load_settings
from workers.settings_checks import models_in
from workers.store.api_keys import keys_exist
from workers.store.catalog import Catalog

LOOPBACK = "127.0.0.1"
_NOT_PASSED_ON = {"SHELFLINE_HOST", "SHELFLINE_REQUIRE_KEYS", "SHELFLINE_ADMIN_KEY"}
_POLL_SECONDS = 0.1
_KILL_SECONDS = 0.3  # seconds until the processes of a temporary stack are killed; its state is deleted anyway
_NEWS_SECONDS = 15.0
_NEW_MODELS_SECONDS = 1.0  # between looks for new models in the folder


def run_stack(
    *, state_folder: Path, models: Path, port: int | None, roots: Sequence[Path], until_stdin_closes: bool = False
) -> int:
    """Run the stack until a signal arrives, a process dies again and again, or (if asked for) its stdin closes.

    Returns the exit status. Raises StackError, BindError, SettingsError before it starts anything.
    """
    settings = load_settings()
    state = StackState(state_folder)
    with state.owned() as locked:
        if not locked:
            record = state.read()
            where = f"at {record.url} (process {record.pid})" if record else "and about to be ready"
            raise StackError(f"A stack is running already, {where}: use it, or stop it first.")
        state.forget()
        if until_stdin_closes:
            sys.stdout.flush()
            os.ftruncate(sys.stdout.fileno(), 0)  # the log is only about this stack
        port = settings.port if port is None else port
        own_redis = "redis_url" not in settings.model_fields_set
        # The stack that a command starts for itself is temporary: it starts without jobs and leaves none, because
        # nothing waits for the jobs of an interrupted command.
        temporary = until_stdin_closes and own_redis
        environ = dict(os.environ)
        if temporary:  # only that command uses it, and it has no key, since Redis is new
            environ = {name: value for name, value in environ.items() if name not in _NOT_PASSED_ON}
            settings = settings.model_copy(update={"host": LOOPBACK})
        if port:
            exist = _not_known if own_redis else (lambda: keys_exist(settings.redis_url))
            checked_binding(settings.model_copy(update={"port": port}), exist)
        model = main_model(models, settings)
        data = state.folder / "run" if temporary else state.folder
        if temporary:
            shutil.rmtree(data, ignore_errors=True)  # left by a stack that was killed
        plan = plan_stack(settings, environ, data=data, models=models, model=model, port=port, roots=roots)
        check_blobs(plan.env["BLOB_URL"])
        if plan.own_model and not _export(models, model, plan, until_stdin_closes=until_stdin_closes):
            return 0
        try:
            if plan.own_model:
                data.mkdir(parents=True, exist_ok=True)
            stack = _Stack(plan, state, models, until_stdin_closes=until_stdin_closes, temporary=temporary)
            return stack.run()
        finally:
            state.forget()
            if temporary:
                shutil.rmtree(data, ignore_errors=True)


class _Stack:
    """One run of a stack's processes."""

    def __init__(
        self, plan: StackPlan, state: StackState, models: Path, *, until_stdin_closes: bool, temporary: bool
    ) -> None:
        self._plan = plan
        self._state = state
        self._model = plan.env["SHELFLINE_MODEL"]
        self._model_config: ModelConfigFile | None = None
        if plan.own_model:
            port = int(plan.env["MODEL_PORT"])
            self._model_config = ModelConfigFile(Path(plan.env["MODEL_CONFIG"]), models, self._model, port)
        self._until_stdin_closes = until_stdin_closes
        self._stopping = threading.Event()
        self._stdin_closed = False
        self._group = ProcessGroup(self._started, _KILL_SECONDS if temporary else None, self._before_restart)

    def run(self) -> int:
        group = self._group
        if self._model_config:
            self._model_config.reset()
        for name, command in self._plan.commands.items():
            group.add_process(name, command, env=dict(self._plan.env), cwd=str(PROJECT))
        group.loop()
        self._stopping.set()
        if group.died:
            typer.echo(f"Shelfline stopped: {', '.join(death.what for death in group.died.values())}, see above.")
            return CANNOT if any(death.status == CANNOT for death in group.died.values()) else 1
        return 0 if self._stdin_closed else int(group.returncode or 0)

    def _started(self) -> None:
        threading.Thread(target=self._announce, daemon=True).start()
        if self._until_stdin_closes:
            threading.Thread(target=self._wait_for_stdin, daemon=True).start()

    def _wait_for_stdin(self) -> None:
        while not _stdin_closed(None):
            continue
        self._state.wait_for_users()  # held until this process ends
        self._stdin_closed = True
        self._state.forget()
        os.kill(os.getpid(), signal.SIGTERM)

    def _announce(self) -> None:
        if self._plan.own_redis:
            self._forget_last_run()
        next_news = time.monotonic() + _NEWS_SECONDS
        with ShelflineClient(self._plan.url) as client:
            while not self._stopping.is_set():
                missing = _not_ready(client)
                if not missing:
                    self._group.ready = True
                    log = str(self._state.log) if self._until_stdin_closes else None
                    self._state.write(StackRecord(self._plan.url, os.getpid(), log, self._plan.parts))
                    typer.echo(f"Shelfline is ready at {self._plan.url}")
                    if self._is_open():
                        typer.echo("It has no keys, so it answers this machine only: see `shelfline keys --help`.")
                    break
                if time.monotonic() > next_news:
                    typer.echo(f"Shelfline is not ready yet: {missing}")
                    next_news += _NEWS_SECONDS
                time.sleep(_POLL_SECONDS)
        self._serve_all_models()

    def _serve_all_models(self) -> None:
        """Have the model server serve all models of the folder, also those that come and go while the stack runs.

        A model that does not load stops none of the others: its error is in the log and in /v1/models.
        """
        while self._model_config and not self._stopping.is_set():
            with suppress(OSError):  # a full disk: the next look tries again
                if names := self._model_config.refresh():
                    typer.echo(f"Models: {', '.join(names)}. Jobs that name none use {self._model}.")
            self._stopping.wait(_NEW_MODELS_SECONDS)

    def _before_restart(self, name: str) -> None:
        if name == "model" and self._model_config:
            with suppress(OSError):  # a full disk: it then starts with all models
                self._model_config.reset()

    def _is_open(self) -> bool:
        """Return whether the API needs no key; always False for the stack that a command started for itself."""
        if self._until_stdin_closes or load_settings().demands_keys:
            return False
        try:
            return not keys_exist(self._plan.env["REDIS_URL"])
        except ShelflineError:
            return False  # Redis is stopping

    def _forget_last_run(self) -> None:
        """Delete the last run's worker and model from Redis, else the stack would seem ready at once."""
        link = RedisLink(self._plan.env["REDIS_URL"])
        while not self._stopping.is_set():
            try:
                with translated():
                    link.client.delete(WORKER_SEEN_KEY)
                Catalog(link).forget(self._model)
                break
            except ShelflineError:
                time.sleep(0.02)
        link.close()


def _not_known() -> bool:
    raise StoreUnavailableError("The stack's own Redis does not run yet.")


def _not_ready(client: ShelflineClient) -> str:
    """Return what is not ready, "" if everything is."""
    try:
        return "; ".join(f"{name}: {state}" for name, state in client.ready().items() if state != "ok")
    except ShelflineError as error:
        return str(error)


def _export(models: Path, model: str, plan: StackPlan, *, until_stdin_closes: bool) -> bool:
    """Export the default model if it is missing; returns False if stdin closed meanwhile. Raises StackError."""
    if model != DEFAULT_MODEL or model in models_in(models):
        return True
    typer.echo(f"Exporting the default model to {models.absolute() / model}, once; this takes about a minute.")
    command = [sys.executable, "-m", "exporter", "demo", "--if-missing"]
    exporter = subprocess.Popen(  # noqa: S603  the project's own command
        [*command, "--models", str(models.absolute()), "--name", model],
        cwd=PROJECT,
        env=dict(plan.env),
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),  # noqa: PLW1509  no threads yet
    )
    while exporter.poll() is None:
        if until_stdin_closes and _stdin_closed(_POLL_SECONDS):
            exporter.kill()
            exporter.wait()
            return False
        time.sleep(_POLL_SECONDS)
    if exporter.returncode:
        raise StackError(f"The default model could not be exported (exit status {exporter.returncode}): see above.")
    return True


def _stdin_closed(seconds: float | None) -> bool:
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and not os.read(0, 4096)
