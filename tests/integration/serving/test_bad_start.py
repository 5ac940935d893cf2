"""What keeps the server from starting: one line on stderr that says what, and exit status 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.machine import free_port

Made = tuple[list[str], str]


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def listed(base: str, more: str = "") -> str:
    """A configuration of one model."""
    return f'model_config_list {{ config {{ name: "m" base_path: "{base}" model_platform: "tensorflow" {more} }} }}'


def wrong_path(_: Path) -> Made:
    return ["--model_base_path=/nowhere/at/all"], "/nowhere/at/all is not a folder"


def wrong_path_in_the_configuration(tmp: Path) -> Made:
    config = text(tmp / "models.config", listed("/nowhere/at/all"))
    return [f"--model_config_file={config}"], "the base_path of model m: /nowhere/at/all is not a folder"


def no_configuration(tmp: Path) -> Made:
    return [f"--model_config_file={tmp}/none"], f"cannot read {tmp}/none: No such file or directory"


def configuration_that_does_not_parse(tmp: Path) -> Made:
    config = text(tmp / "models.config", "model_config_list {\n  config { nme: 'x' }\n}\n")
    return (
        [f"--model_config_file={config}"],
        (
            "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:12 : Message type "
            '"tensorflow.serving.ModelConfig" has no field named "nme".'
        ),
    )


def configuration_of_bytes(tmp: Path) -> Made:
    (tmp / "models.config").write_bytes(b"\xff\xfe\x00")
    return [f"--model_config_file={tmp}/models.config"], "it is not UTF-8 text"


def relative_path(tmp: Path) -> Made:
    config = text(tmp / "models.config", listed("models/m"))
    return (
        [f"--model_config_file={config}"],
        "Expected model m to have an absolute path or URI; got base_path()=models/m",
    )


def label_before_its_version(tmp: Path) -> Made:
    config = text(tmp / "models.config", listed(str(tmp), "version_labels { key: 'stable' value: 1 }"))
    return (
        [f"--model_config_file={config}"],
        "Request to assign label to version 1 of model m, which is not currently available for inference",
    )


def batching_that_does_not_parse(tmp: Path) -> Made:
    file = text(tmp / "batching.config", "max_batch_size: 8")
    return (
        [f"--model_base_path={tmp}", "--enable_batching", f"--batching_parameters_file={file}"],
        "Error parsing text-format tensorflow.serving.BatchingParameters: 1:17",
    )


def batching_that_cannot_be(tmp: Path) -> Made:
    file = text(tmp / "batching.config", "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]")
    return (
        [f"--model_base_path={tmp}", "--enable_batching", f"--batching_parameters_file={file}"],
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
    )


def monitoring_that_does_not_parse(tmp: Path) -> Made:
    file = text(tmp / "monitoring.config", "prometheus { }")
    return (
        [f"--model_base_path={tmp}", f"--rest_api_port={free_port()}", f"--monitoring_config_file={file}"],
        "Error parsing text-format tensorflow.serving.MonitoringConfig: 1:1",
    )


def socket_in_no_folder(tmp: Path) -> Made:
    return [f"--model_base_path={tmp}", f"--grpc_socket_path={tmp}/none/socket"], "cannot be made a socket"


def model_that_needs_too_much_memory(tmp: Path) -> Made:
    (tmp / "1" / "variables").mkdir(parents=True)
    (tmp / "1" / "saved_model.pb").touch()
    with (tmp / "1" / "variables" / "variables.data-00000-of-00001").open("wb") as file:
        os.truncate(file.fileno(), 10**13)  # a hole: it takes no room on the disk
    return (
        [f"--model_base_path={tmp}"],
        "no version of default could be loaded: version 1: it needs about 12,000,000 MB of memory, and",
    )


@pytest.mark.parametrize(
    "make",
    [
        wrong_path,
        wrong_path_in_the_configuration,
        no_configuration,
        configuration_that_does_not_parse,
        configuration_of_bytes,
        relative_path,
        label_before_its_version,
        batching_that_does_not_parse,
        batching_that_cannot_be,
        monitoring_that_does_not_parse,
        socket_in_no_folder,
        model_that_needs_too_much_memory,
    ],
)
def test_it_is_said_in_one_line(make: Callable[[Path], Made], tmp_path: Path) -> None:
    """Before TensorFlow is imported."""
    flags, message = make(tmp_path)

    assert message in complaint(flags)


def complaint(flags: list[str]) -> str:
    """The one line of a server that does not start."""
    command = [sys.executable, "-m", "serving", f"--port={free_port()}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_port_in_use(flag: str, tmp_path: Path) -> None:
    """Of gRPC or REST."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in complaint(
            [f"--model_base_path={tmp_path}", f"--{flag}={port}"]
        )
