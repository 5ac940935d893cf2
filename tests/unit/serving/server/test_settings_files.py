from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.server.batching.settings import BatchSettings, read_batch_settings
from serving.server.errors import SetupError
from serving.server.loading import memory
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import ModelConfig, read_model_config
from serving.server.versions.models import Models
from serving.server.versions.policy import VersionPolicy


def written(folder: Path, text: str) -> Path:
    """A file with this text."""
    path = folder / "file.config"
    path.write_text(text)
    return path


def test_batching_parameters_have_tf_servings_defaults(tmp_path: Path) -> None:
    """But one thread for each pair of cores: a batch computes on all of them."""
    settings = read_batch_settings(written(tmp_path, ""))

    assert settings == BatchSettings()
    assert (settings.max_batch_size, settings.batch_timeout_micros, settings.max_enqueued_batches) == (1000, 0, 10)
    assert settings.num_batch_threads == max(1, (os.cpu_count() or 1) // 2)
    text = "max_batch_size { value: 4 } num_batch_threads { value: 3 } allowed_batch_sizes: [2, 4]"
    given = read_batch_settings(written(tmp_path, text + " pad_variable_length_inputs: true"))
    assert (given.max_batch_size, given.num_batch_threads, given.pad_variable_length_inputs) == (4, 3, True)
    assert [given.padded(rows) for rows in (1, 2, 3, 4)] == [2, 2, 4, 4]
    split = read_batch_settings(
        written(tmp_path, "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 8 }")
    )
    assert (split.max_batch_size, split.rows_of_a_batch, given.rows_of_a_batch) == (1000, 8, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2]", "must be monotonically increasing"),
        ("allowed_batch_sizes: 8", "last entry was 8; expected 1000"),
        ("max_execution_batch_size { value: -1 }", "max_execution_batch_size must be non-negative; was -1"),
        (
            (
                "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } "
                "max_execution_batch_size { value: 5 }"
            ),
            "max_execution_batch_size 5 is greater than max_batch_size 4",
        ),
    ],
)
def test_batching_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Before anything starts."""
    with pytest.raises(SetupError, match=message):
        read_batch_settings(written(tmp_path, text))


def test_request_logging_is_said_to_have_no_effect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, however often the file is read; the model is served all the same."""
    text = """model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow"
              logging_config { sampling_config { sampling_rate: 0.5 } } } }"""
    path = written(tmp_path, text)
    models = Models(lambda name: Lifecycle(name, load=lambda _: pytest.fail("nothing is loaded")))
    for _ in range(3):
        models.configure(read_model_config(path))
    models.stop()

    assert [model.name for model in models.configured] == ["a"]
    assert caplog.text.count("logging_config of model a has no effect here") == 1


def test_a_configuration_names_models(tmp_path: Path) -> None:
    """With policies and labels; an empty file names none."""
    text = """
    model_config_list {
      config { name: "a" base_path: "/a" model_platform: "tensorflow" }
      config { name: "b" base_path: "/b" model_type: TENSORFLOW model_version_policy { latest { num_versions: 2 } } }
      config { name: "c" base_path: "/c" model_platform: "tensorflow" model_version_policy { all {} }
               version_labels { key: "stable" value: 7 } }
      config { name: "d" base_path: "/d" model_platform: "tensorflow"
               model_version_policy { specific { versions: 3 versions: 4 } } }
    }
    """

    assert read_model_config(written(tmp_path, text)) == [
        ModelConfig("a", Path("/a")),
        ModelConfig("b", Path("/b"), VersionPolicy(latest=2)),
        ModelConfig("c", Path("/c"), VersionPolicy(everything=True), {"stable": 7}),
        ModelConfig("d", Path("/d"), VersionPolicy(specific=frozenset({3, 4}))),
    ]
    assert read_model_config(written(tmp_path, "")) == []


def test_memory_is_asked_for_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tightest of the limits, and 1.2 times the size of the files, as TF Serving estimates it."""
    (tmp_path / "data").write_bytes(b"x" * 10_000_000)

    assert memory.shortage(tmp_path) is None

    monkeypatch.setattr(memory, "_limits", lambda: iter((10**12, 12_000_000)))
    assert memory.shortage(tmp_path) is None

    monkeypatch.setattr(memory, "_limits", lambda: iter((10**12, 11_000_000)))
    assert memory.shortage(tmp_path) == "it needs about 12 MB of memory, and 11 MB are available"
