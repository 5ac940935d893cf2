"""The embedded model server. Its flags are those of tensorflow_model_server; it refuses a flag it does not have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


@dataclass(frozen=True)
class Flags:
    """The values of the command line. Each field has the name of its flag."""

    host: str
    port: int
    grpc_socket_path: str
    grpc_max_threads: int
    grpc_channel_arguments: tuple[tuple[str, str | int], ...]
    rest_api_port: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    model_name: str
    model_base_path: Path | None
    model_config_file: Path | None
    model_config_file_poll_wait_seconds: int
    file_system_poll_wait_seconds: int
    max_num_load_retries: int | None
    load_retry_interval_micros: int
    allow_version_labels_for_unavailable_models: bool
    monitoring_config_file: Path | None
    enable_batching: bool
    batching_parameters_file: Path | None
    enable_serialization_as_tensor_content: bool
    enable_grpc_healthcheck_service: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the error in one line and exit with status 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(2)


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """Parse the command line. For wrong flags, print one line on stderr and raise SystemExit with status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    problem = _problem(given)
    if problem:
        parser.error(problem)
    return Flags(**{name: getattr(given, name) for name in Flags.__dataclass_fields__})


def _problem(given: argparse.Namespace) -> str | None:
    """Return the first error in the parsed flags that argparse does not find, or None."""
    problems = {
        f"--port: {given.port} is not a port: give a number from 1 to 65535": not 0 < given.port < 65536,
        f"--rest_api_port: {given.rest_api_port} is not a port: give a number from 1 to 65535, or 0": not 0
        <= given.rest_api_port
        < 65536,
        "--rest_api_port is the same as --port: use a different port for the REST API": (
            given.rest_api_port == given.port
        ),
        "--monitoring_config_file is set without --rest_api_port: set that flag too, the REST API shows the metrics": (
            given.monitoring_config_file is not None and not given.rest_api_port
        ),
        "--batching_parameters_file is set without --enable_batching: set that flag too": (
            given.batching_parameters_file is not None and not given.enable_batching
        ),
        "--model_config_file_poll_wait_seconds is set without --model_config_file: set that flag too": (
            given.model_config_file is None and given.model_config_file_poll_wait_seconds > 0
        ),
    }
    problem = next((text for text, is_so in problems.items() if is_so), None)
    return problem or (_model_problem(given) if given.model_config_file is None else None)


def _model_problem(given: argparse.Namespace) -> str | None:
    if given.model_base_path is None:
        return "--model_base_path is missing: name the folder that holds the numbered versions of the model"
    if not given.model_base_path.is_dir():
        return f"--model_base_path: {given.model_base_path} is not a folder: create it, or name another one"
    return None if given.model_name else "--model_name is empty: give the name that clients call the model by"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m serving", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    flag: dict[str, Any] = {"type": _truth, "nargs": "?", "const": True, "default": False}
    add("--host", default="127.0.0.1", help="address to listen on; tensorflow_model_server always uses 0.0.0.0")
    add("--port", type=int, default=8500, help="gRPC port")
    add("--grpc_socket_path", default="", help="path of a Unix socket to listen on too")
    add(
        "--grpc_max_threads",
        type=_natural,
        default=0,
        help="calls that run at a time; 0: a number that fits the processor",
    )
    add(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default=(),
        help="options of the gRPC server: key=value,key=value",
    )
    add("--rest_api_port", type=int, default=0, help="port of the REST API; 0: no REST API")
    add("--rest_api_num_threads", type=_natural, default=0, help="REST requests that run at a time; 0: four per core")
    add(
        "--rest_api_timeout_in_ms",
        type=_natural,
        default=30_000,
        help="time limit of a REST predict request, in milliseconds",
    )
    add("--model_name", default="default", help="name that clients call the model by")
    add("--model_base_path", type=_path, help="folder that holds the numbered versions of the model")
    add("--model_config_file", type=_path, help="file that lists several models: a ModelServerConfig in text format")
    add(
        "--model_config_file_poll_wait_seconds",
        type=_natural,
        default=0,
        help="seconds between two readings of that file; 0: read once",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=_natural,
        default=1,
        help="seconds between two looks for new versions; 0: look once",
    )
    add("--max_num_load_retries", type=_natural, help="retries of a version that fails to load; default 5")
    add("--load_retry_interval_micros", type=_natural, default=60_000_000, help="microseconds between two tries")
    add(
        "--allow_version_labels_for_unavailable_models",
        **flag,
        help="allow labels of versions that are not available yet",
    )
    add(
        "--monitoring_config_file",
        type=_path,
        help="file with a MonitoringConfig in text format: show Prometheus metrics",
    )
    add("--enable_batching", **flag, help="merge requests into batches")
    add("--batching_parameters_file", type=_path, help="file with BatchingParameters in text format")
    add("--enable_serialization_as_tensor_content", **flag, help="write outputs as tensor_content")
    add("--enable_grpc_healthcheck_service", **flag, help="answer grpc.health.v1.Health")
    add("--prefer_tflite_model", nargs="?", const="true", help="ignored")
    return parser


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number: give 0 or more")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise argparse.ArgumentTypeError(f"{text} is not a truth value: give true or false")
    return text.lower() in {"true", "1"}


def _channel_arguments(text: str) -> tuple[tuple[str, str | int], ...]:
    pairs: list[tuple[str, str | int]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{part} has no value: give key=value")
        pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(pairs)
