from pathlib import Path

import pytest

from serving.server.errors import from_number, truncated
from serving.server.flags import parse


def test_the_flags_are_tensorflow_model_servers(tmp_path: Path) -> None:
    """With an equals sign or without, as on its command line."""
    flags = parse(
        [
            "--port=9000",
            "--model_name",
            "shelf",
            f"--model_base_path={tmp_path}",
            "--enable_serialization_as_tensor_content",
            "--prefer_tflite_model=true",
            "--saved_model_tags=serve,gpu",
            "--enable_model_warmup=false",
            "--tensorflow_intra_op_parallelism=3",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=5,grpc.x=y",
            "--enable_batching=false",
        ]
    )

    assert (9000, "shelf", tmp_path, True) == (
        flags.port,
        flags.model_name,
        flags.model_base_path,
        flags.enable_serialization_as_tensor_content,
    )
    assert flags.saved_model_tags == ("serve", "gpu")
    assert (flags.enable_model_warmup, flags.tensorflow_intra_op_parallelism) == (False, 3)
    assert flags.grpc_channel_arguments == (("grpc.max_connection_age_ms", 5), ("grpc.x", "y"))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batching_parameters_file=x"],
        ["--monitoring_config_file=x"],
        ["--model_config_file_poll_wait_seconds=1"],
        ["--rest_api_port=8500"],
        ["--rest_api_port=65536"],
        ["--enable_batching=perhaps"],
        ["--rest_api_enable_cors_support"],
        ["--use_alts_credentials=true"],
        ["--platform_config_file=x"],
        ["--mixed_precision=bfloat16"],
        ["--num_load_threads=many"],
        ["--per_process_gpu_memory_fraction=half"],
        ["--saved_model_tags="],
        ["--tensorflow_session_parallelism=2", "--tensorflow_inter_op_parallelism=1"],
        ["--port=0"],
        ["--port=x"],
        ["--model_name="],
        ["--model_base_path=/nowhere/at/all"],
        ["--file_system_poll_wait_seconds=-1"],
        ["--enable_serialization_as_tensor_content=maybe"],
        ["--grpc_channel_arguments=x"],
        ["--unheard_of"],
    ],
)
def test_a_flag_that_cannot_be_followed_is_refused(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with status 2: a server that ignores a flag does something else than it was told."""
    with pytest.raises(SystemExit) as exit_:
        parse([f"--model_base_path={tmp_path}", *wrong])

    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_flags_without_effect_are_taken(tmp_path: Path) -> None:
    """Each with its reason for the log; and so are those that cannot be followed, at their defaults."""
    flags = parse(
        [
            f"--model_base_path={tmp_path}",
            "--num_load_threads=2",
            "--flush_filesystem_caches=false",
            "--per_process_gpu_memory_fraction",
            "0.5",
            "--enable_profiler",
            "--xla_cpu_compilation_enabled=false",
            "--platform_config_file=",
            "--port=0",
            "--grpc_socket_path=/socket",
        ]
    )

    assert [note.split(" has no effect here: ")[0] for note in flags.ineffective] == [
        "--num_load_threads",
        "--flush_filesystem_caches",
        "--per_process_gpu_memory_fraction",
        "--enable_profiler",
    ]
    assert "holds up no other one" in flags.ineffective[0]
    assert parse([f"--model_base_path={tmp_path}"]).ineffective == ()


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is started."""
    with pytest.raises(SystemExit) as exit_:
        parse(["--version"])

    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("TensorFlow ModelServer: ")


def test_the_base_path_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no default that could be right."""
    with pytest.raises(SystemExit):
        parse([])
    assert "--model_base_path is missing" in capsys.readouterr().err


def test_long_messages_are_cut() -> None:
    """At 1024 characters, as TF Serving cuts them."""
    assert truncated("x" * 1024) == "x" * 1024
    assert truncated("x" * 1025) == "x" * 1024 + "...TRUNCATED"


@pytest.mark.parametrize(("number", "name"), [(3, "INVALID_ARGUMENT"), (0, "UNKNOWN"), (99, "UNKNOWN")])
def test_tensorflows_codes_are_grpcs(number: int, name: str) -> None:
    """An error is never OK."""
    assert name == from_number(number, "").code.name
