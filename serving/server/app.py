"""The server process: start, first load, ports, signals, exit."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

from serving.server.batching.scheduler import BatchScheduler
from serving.server.errors import SetupError, StatusError
from serving.server.flags import Flags, parse
from serving.server.front import Front
from serving.server.loading import allocator
from serving.server.loading.kept_memory import KeptMemory
from serving.server.loading.saved_model import SessionSettings
from serving.server.loading.version_loader import VersionLoader
from serving.server.metrics import Metrics
from serving.server.settings_files import batching, credentials, first_models, metrics_path
from serving.server.stop import Stop
from serving.server.versions.first_load import wait_for_models
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import read_model_config
from serving.server.versions.models import Models

_log = logging.getLogger(__name__)

_DRAIN_SECONDS: Final = 30.0
_DEFAULT_RETRIES: Final = 5
_MAX_SOCKET_PATH: Final = 107


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT, then exit with 0. If the server cannot start, print one line and exit with 2."""
    flags = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        _serve(flags)
    except SetupError as error:
        sys.stderr.write(f"python -m serving: {' '.join(str(error).split())}\n")
        _exit(2)
    _exit(0)


def _serve(flags: Flags) -> None:
    if find_spec("tensorflow") is None:
        raise SetupError("TensorFlow is not installed: install it with `pip install tensorflow`")
    for note in flags.ineffective:
        _log.warning("%s", note)
    configs, batch_settings, metrics = first_models(flags), batching(flags), Metrics(metrics_path(flags))
    tls = credentials(flags)
    if flags.port:
        _bound(flags.host, flags.port).close()  # fail now if it is not free: the load takes seconds
    _check_socket_path(flags.grpc_socket_path)
    rest_socket = _bound(flags.host, flags.rest_api_port) if flags.rest_api_port else None
    allocator.tune()  # before the first load imports TensorFlow
    stop = Stop()
    scheduler = None if batch_settings is None else BatchScheduler(batch_settings, metrics)
    models = _models(flags, _loader(flags, metrics, scheduler))
    try:
        models.configure(configs, quiet=True)
    except StatusError as error:
        raise SetupError(error.message) from error
    problem = wait_for_models(models, stop, retries=flags.max_num_load_retries is not None)
    if problem:
        raise SetupError(problem)
    if stop.is_set:
        return
    front = Front(flags, models, metrics, batching=scheduler is not None)
    front.open(rest_socket, tls)
    KeptMemory(front.calls.runs).start()
    if flags.model_config_file is not None and flags.model_config_file_poll_wait_seconds:
        _poll_configuration(models, flags.model_config_file, flags.model_config_file_poll_wait_seconds)
    stop.wait(float("inf"))
    _log.info("stopping: no new calls; those in flight have %.0f s", _DRAIN_SECONDS)
    models.stop()
    front.drain(_DRAIN_SECONDS)


def _loader(flags: Flags, metrics: Metrics, scheduler: BatchScheduler | None) -> VersionLoader:
    both = flags.tensorflow_session_parallelism
    session = SessionSettings(
        flags.saved_model_tags,
        flags.tensorflow_intra_op_parallelism or both,
        flags.tensorflow_inter_op_parallelism or both,
    )
    iterations = max(flags.num_request_iterations_for_warmup, 1) if flags.enable_model_warmup else 0
    return VersionLoader(metrics, scheduler, session=session, warm_up_iterations=iterations)


def _models(flags: Flags, load: VersionLoader) -> Models:
    make = partial(
        Lifecycle,
        load=load,
        poll_seconds=flags.file_system_poll_wait_seconds,
        retries=_DEFAULT_RETRIES if flags.max_num_load_retries is None else flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
    )
    return Models(make, labels_may_come_first=flags.allow_version_labels_for_unavailable_models)


def _poll_configuration(models: Models, path: Path, seconds: float) -> None:
    """Reload the configuration file every `seconds`, in a thread. An invalid file is logged and changes nothing."""

    def follow() -> None:
        while True:
            time.sleep(seconds)
            try:
                models.reload(read_model_config(path), is_awaited=lambda: False)
            except (SetupError, StatusError) as error:
                _log.error("%s cannot be followed: %s", path, error)

    threading.Thread(target=follow, name="model-config", daemon=True).start()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen yet. Raises SetupError if the port is not available."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise SetupError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; free that port, or name another host or port"
        ) from error
    return bound


def _check_socket_path(text: str) -> None:
    """Raise SetupError if gRPC cannot create the Unix socket."""
    if not text:
        return
    path = Path(text)
    if len(os.fsencode(text)) > _MAX_SOCKET_PATH:
        raise SetupError(f"--grpc_socket_path: {text} is longer than {_MAX_SOCKET_PATH} bytes: choose a shorter path")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not path.is_socket()):
        raise SetupError(
            f"--grpc_socket_path: {text} cannot be made a socket: its folder must be writable, and no file may be there"
        )


def _exit(status: int) -> NoReturn:
    """Exit immediately: TensorFlow's clean-up takes seconds, and a running load cannot be interrupted."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
