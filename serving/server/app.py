"""The server process: flags, the first load, the port, the signals, the exit."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import grpc

from serving.server import allocator
from serving.server.flags import Flags, parse
from serving.server.lifecycle import Lifecycle
from serving.server.loader import LoadedModel
from serving.server.model_service import ModelService
from serving.server.models import Models
from serving.server.prediction import PredictionService
from serving.server.services import make_server
from serving.server.warmup import warm_up

_log = logging.getLogger(__name__)

_DRAIN_SECONDS: Final = 3.0
_REMIND_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT, then exit 0; 2 where the set-up is wrong, 1 where no version loads."""
    flags = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _exit(_serve(flags))


def _serve(flags: Flags) -> int:
    if find_spec("tensorflow") is None:
        return _complain("TensorFlow is not installed: pip install tensorflow")
    in_use = _port_trouble(flags)
    if in_use:
        return _complain(in_use)
    allocator.tune()  # before the first load imports TensorFlow
    stop = _Stop()
    lifecycle = Lifecycle(
        flags.model_name,
        flags.model_base_path.absolute(),
        _load,
        poll_seconds=flags.file_system_poll_wait_seconds,
        retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
    )
    lifecycle.start()
    if not _first_load(lifecycle, flags, stop):
        return 0 if stop.is_set else 1
    models = Models([lifecycle])
    prediction = PredictionService(models, as_content=flags.enable_serialization_as_tensor_content)
    server = make_server(prediction, ModelService(models), flags.grpc_channel_arguments)
    try:
        _listen(server, flags)
    except RuntimeError as error:
        return _complain(str(error).partition("\n")[0])
    stop.wait(float("inf"))
    _log.info("stopping: no new calls; those in flight have %.0f s", _DRAIN_SECONDS)
    lifecycle.stop()
    server.stop(_DRAIN_SECONDS).wait(_DRAIN_SECONDS + 0.5)
    return 0


def _load(folder: Path) -> LoadedModel:
    """A version that is ready to be called; LoadError where it is not."""
    loaded = LoadedModel(folder)
    try:
        warm_up(loaded, folder)
    except BaseException:
        loaded.close()
        raise
    return loaded


class _Stop:
    """SIGTERM or SIGINT, asked for by polling.

    An Event would not do: a signal that the kernel gives to a thread of TensorFlow's or gRPC's does not wake the
    main thread (measured: one SIGTERM in six), and `Event.set` in a handler can deadlock with `Event.wait`.
    """

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def wait(self, seconds: float) -> bool:
        """Whether it is asked for, after at most so long."""
        deadline = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.is_set

    def _note(self, _number: int, _frame: object) -> None:
        self.is_set = True


def _first_load(lifecycle: Lifecycle, flags: Flags, stop: _Stop) -> bool:
    """Wait until a version can be called: the port opens only then, as TF Serving's does."""
    remind_at = time.monotonic() + _REMIND_SECONDS
    while not lifecycle.is_available:
        if stop.wait(_POLL_SECONDS):
            return False
        if lifecycle.is_hopeless:
            _log.error("no version of %s could be loaded", flags.model_name)
            return False
        if time.monotonic() >= remind_at:
            remind_at += _REMIND_SECONDS
            if lifecycle.states():
                _log.info("waiting for %s to load", flags.model_name)
            else:
                _log.info("waiting: no version of %s under %s yet", flags.model_name, flags.model_base_path)
    return True


def _listen(server: grpc.Server, flags: Flags) -> None:
    address = f"{flags.host}:{flags.port}"
    server.add_insecure_port(address)
    if flags.grpc_socket_path:
        server.add_insecure_port(f"unix:{flags.grpc_socket_path}")
    server.start()
    _log.info("serving gRPC on %s", address)


def _port_trouble(flags: Flags) -> str:
    """Why the port cannot be had, before seconds are spent on loading; empty if it can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(flags.host, flags.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return f"cannot listen on {flags.host}:{flags.port}: {error.strerror or error}"
    return ""


def _complain(text: str) -> int:
    sys.stderr.write(f"python -m serving: {text}\n")
    return 2


def _exit(status: int) -> NoReturn:
    """End at once: TensorFlow's own clean-up takes seconds, and a load that is under way cannot be interrupted."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
