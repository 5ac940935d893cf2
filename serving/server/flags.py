"""The command line: tensorflow_model_server's flags. One that does nothing yet is refused, never ignored."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

NOT_YET: Final = (
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "monitoring_config_file",
    "enable_batching",
    "batching_parameters_file",
    "enable_grpc_healthcheck_service",
)
"""Flags of tensorflow_model_server that this server does not do (yet)."""


@dataclass(frozen=True)
class Flags:
    """What the server is told; the fields are named as the flags."""

    host: str
    port: int
    grpc_socket_path: str
    model_name: str
    model_base_path: Path
    file_system_poll_wait_seconds: int
    max_num_load_retries: int
    load_retry_interval_micros: int
    grpc_channel_arguments: tuple[tuple[str, str | int], ...]
    enable_serialization_as_tensor_content: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, exit status 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(2)


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """The flags of the command line; SystemExit with status 2 and one line on stderr where they are wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in NOT_YET:
        if getattr(given, name) not in {None, "false", "0"}:
            parser.error(f"--{name} is not implemented by the embedded server: leave it out, or run tensorflow/serving")
    if given.model_base_path is None:
        parser.error("--model_base_path is missing: the folder that holds the model's numbered versions")
    if not given.model_base_path.is_dir():
        parser.error(f"--model_base_path: {given.model_base_path} is not a folder")
    if not given.model_name:
        parser.error("--model_name is empty")
    if not 0 < given.port < 65536:
        parser.error(f"--port: {given.port} is not a port")
    return Flags(**{name: getattr(given, name) for name in Flags.__dataclass_fields__})


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m serving", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (tensorflow_model_server: always 0.0.0.0)")
    add("--port", type=int, default=8500, help="gRPC port")
    add("--grpc_socket_path", default="", help="listen on this Unix socket too")
    add("--model_name", default="default", help="the name clients use")
    add("--model_base_path", type=Path, help="folder that holds the numbered versions")
    add("--file_system_poll_wait_seconds", type=_natural, default=1, help="0: look for versions once, at the start")
    add("--max_num_load_retries", type=_natural, default=5, help="further tries of a version that fails to load")
    add("--load_retry_interval_micros", type=_natural, default=60_000_000, help="time between such tries")
    add("--grpc_channel_arguments", type=_channel_arguments, default=(), help="key=value,key=value for the gRPC server")
    add("--enable_serialization_as_tensor_content", type=_truth, nargs="?", const=True, default=False)
    add("--prefer_tflite_model", nargs="?", const="true", help="ignored")
    for name in NOT_YET:
        add(f"--{name}", nargs="?", const="true", help="not implemented")
    return parser


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() in {"true", "1"}


def _channel_arguments(text: str) -> tuple[tuple[str, str | int], ...]:
    pairs: list[tuple[str, str | int]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{part} is not key=value")
        pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(pairs)
