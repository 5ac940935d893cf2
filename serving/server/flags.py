"""The embedded model server. Its flags are those of tensorflow_model_server; one that it cannot follow is refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from serving.server import other_flags
from serving.server.flag_values import channel_arguments, natural, path, tags, truth


def _flag(default: object, meaning: str, read: Callable[[str], object] = str) -> Any:  # noqa: ANN401 - the value's type
    """Return the arguments of argparse for a flag. `--flag` alone means true, for flags with truth values."""
    alone = {"nargs": "?", "const": True} if read is truth else {}
    return {"default": default, "help": meaning, "type": read, **alone}


class _Notes(argparse.Namespace):
    """What the server's log says about the command line: a sentence for each flag without effect."""

    ineffective: tuple[str, ...]


class Flags(_Notes):
    """The values of the command line. Each attribute has the name of its flag, except for those of `_Notes`."""

    host: str = _flag("127.0.0.1", "address to listen on; tensorflow_model_server always uses 0.0.0.0")
    port: int = _flag(8500, "gRPC port; 0: only the Unix socket", int)
    grpc_socket_path: str = _flag("", "path of a Unix socket to listen on too")
    grpc_max_threads: int = _flag(0, "calls that run at a time; 0: a number that fits the processor", natural)
    grpc_channel_arguments: tuple[tuple[str, str | int], ...] = _flag(
        (), "options of the gRPC server: key=value,key=value", channel_arguments
    )
    ssl_config_file: Path | None = _flag(None, "file with an SSLConfig in text format: gRPC by TLS", path)
    rest_api_port: int = _flag(0, "port of the REST API; 0: no REST API", int)
    rest_api_num_threads: int = _flag(0, "REST requests that run at a time; 0: four per core", natural)
    rest_api_timeout_in_ms: int = _flag(30_000, "time limit of a REST predict request, in milliseconds", natural)
    model_name: str = _flag("default", "name that clients call the model by")
    model_base_path: Path | None = _flag(None, "folder that holds the numbered versions of the model", path)
    model_config_file: Path | None = _flag(
        None, "file that lists several models: a ModelServerConfig in text format", path
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0, "seconds between two readings of that file; 0: read once", natural
    )
    file_system_poll_wait_seconds: int = _flag(1, "seconds between two looks for new versions; 0: look once", natural)
    max_num_load_retries: int | None = _flag(None, "retries of a version that fails to load; default 5", natural)
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two tries", natural)
    saved_model_tags: tuple[str, ...] = _flag(("serve",), "tags of the graph in a SavedModel", tags)
    enable_model_warmup: bool = _flag(True, "run the warm-up records of a version before it is served", truth)
    num_request_iterations_for_warmup: int = _flag(0, "how often each record is run; 0: once", natural)
    tensorflow_session_parallelism: int = _flag(0, "threads of a session, for operators and within them", natural)
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within an operator; 0: one per core", natural)
    tensorflow_inter_op_parallelism: int = _flag(0, "operators that run at a time; 0: at most 2", natural)
    enable_signature_method_name_check: bool = _flag(
        True, "Classify and Regress take only signatures that are declared for them", truth
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "allow labels of versions that are not available yet", truth
    )
    monitoring_config_file: Path | None = _flag(
        None, "file with a MonitoringConfig in text format: show Prometheus metrics", path
    )
    enable_batching: bool = _flag(False, "merge requests into batches", truth)
    batching_parameters_file: Path | None = _flag(None, "file with BatchingParameters in text format", path)
    enable_serialization_as_tensor_content: bool = _flag(False, "write outputs as tensor_content", truth)
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health", truth)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the error in one line and exit with status 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(2)


def parse(arguments: Sequence[str] | None = None) -> Flags:
    """Parse the command line. For wrong flags, print one line on stderr and raise SystemExit with status 2."""
    parser = _parser()
    flags = Flags(**vars(parser.parse_args(arguments)))
    problem = _problem(flags)
    if problem:
        parser.error(problem)
    return flags


def _problem(flags: Flags) -> str | None:
    """Return the first error in the parsed flags that argparse does not find, or None."""
    problems = {
        f"--port: {flags.port} is not a port: give a number from 1 to 65535, or 0 with --grpc_socket_path": not (
            0 < flags.port < 65536 or (flags.port == 0 and flags.grpc_socket_path)
        ),
        f"--rest_api_port: {flags.rest_api_port} is not a port: give a number from 1 to 65535, or 0": not 0
        <= flags.rest_api_port
        < 65536,
        "--rest_api_port is the same as --port: use a different port for the REST API": (
            flags.rest_api_port == flags.port != 0
        ),
        "--monitoring_config_file is set without --rest_api_port: set that flag too, the REST API shows the metrics": (
            flags.monitoring_config_file is not None and not flags.rest_api_port
        ),
        "--batching_parameters_file is set without --enable_batching: set that flag too": (
            flags.batching_parameters_file is not None and not flags.enable_batching
        ),
        "--tensorflow_session_parallelism is set together with --tensorflow_intra_op_parallelism or "
        "--tensorflow_inter_op_parallelism: set either the first or the other two": (
            flags.tensorflow_session_parallelism > 0
            and max(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism) > 0
        ),
        "--saved_model_tags is empty: name the tags, such as serve": not flags.saved_model_tags,
        "--model_config_file_poll_wait_seconds is set without --model_config_file: set that flag too": (
            flags.model_config_file is None and flags.model_config_file_poll_wait_seconds > 0
        ),
    }
    problem = next((text for text, is_so in problems.items() if is_so), None)
    return problem or (_model_problem(flags) if flags.model_config_file is None else None)


def _model_problem(flags: Flags) -> str | None:
    if flags.model_base_path is None:
        return "--model_base_path is missing: name the folder that holds the numbered versions of the model"
    if not flags.model_base_path.is_dir():
        return f"--model_base_path: {flags.model_base_path} is not a folder: create it, or name another one"
    return None if flags.model_name else "--model_name is empty: give the name that clients call the model by"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m serving", description=__doc__, allow_abbrev=False)
    for name in Flags.__annotations__:
        parser.add_argument(f"--{name}", **getattr(Flags, name))
    other_flags.add_to(parser)
    return parser
