from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.commands.errors import StackError
from api.commands.stack.plan import free_ports
from api.commands.stack.served_models import ModelConfigFile, main_model
from serving.server.versions.model_config import read_model_config
from workers.settings import Settings
from workers.settings_checks import models_in


def _folder(parent: Path, *names: str) -> Path:
    models = parent / "models"
    models.mkdir(exist_ok=True)
    for name in names:
        version = models / name / "1"
        version.mkdir(parents=True)
        (version / "saved_model.pb").touch()
    return models


def test_only_models_with_a_version_are_there(tmp_path: Path) -> None:
    """A draft, an empty folder, a copy that has just begun and a name that no URL can have are none."""
    models = _folder(tmp_path, "sku", "a.b-1", ".hidden", "two words")
    (models / "begun" / "1").mkdir(parents=True)
    (models / "draft" / ".exporting-1").mkdir(parents=True)
    (models / "notes.txt").touch()

    assert models_in(models) == ("a.b-1", "sku")
    assert models_in(models / "none") == models_in(models / "notes.txt") == models_in(None) == ()
    assert Settings(model="a", more_models=("sku", "b"), models=models).served_models == ("a", "sku", "b", "a.b-1")


@pytest.mark.parametrize(
    ("there", "settings", "wanted", "expected"),
    [
        ((), {}, None, "default"),
        (("default", "sku"), {}, None, "default"),
        (("sku",), {}, None, "sku"),
        (("default", "sku"), {}, "sku", "sku"),
        (("sku",), {}, "default", "default"),
        (("default", "sku"), {"model": "sku"}, None, "sku"),
        ((), {"model_server": "m:1", "model": "other"}, "sku", "other"),
    ],
)
def test_which_model_jobs_use(
    tmp_path: Path, there: tuple[str, ...], settings: dict[str, Any], wanted: str | None, expected: str
) -> None:
    """The one that is named, else `default`, else the only one; another server has what its settings say."""
    assert main_model(_folder(tmp_path, *there), Settings(**settings), wanted) == expected


@pytest.mark.parametrize(
    ("there", "settings", "wanted", "words"),
    [
        (("a", "b"), {}, None, "has the models a, b, and none that is called default: choose one"),
        (("a", "b"), {}, "sku", "no version of the model 'sku' in .*: it has a, b. Export it first"),
        ((), {"model": "sku"}, None, "it has none. Export it first"),
    ],
)
def test_a_model_that_is_not_there(
    tmp_path: Path, there: tuple[str, ...], settings: dict[str, Any], wanted: str | None, words: str
) -> None:
    """The error says which there are, and comes before anything is started."""
    with pytest.raises(StackError, match=words):
        main_model(_folder(tmp_path, *there), Settings(**settings), wanted)


def test_models_that_are_a_file(tmp_path: Path) -> None:
    """They are no folder of models."""
    (tmp_path / "models").touch()

    with pytest.raises(StackError, match="is not a folder"):
        main_model(tmp_path / "models", Settings())


@pytest.fixture
def port() -> Iterator[int]:
    """A port that a server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _named(file: Path) -> list[str]:
    return [model.name for model in read_model_config(file)]


@pytest.mark.parametrize("name", ["models", 'a "quoted" \\ one', "模型 'é'"])
def test_the_model_server_reads_the_config(tmp_path: Path, port: int, name: str) -> None:
    """Whatever the path is called."""
    models = _folder(tmp_path, "sku-1.0").rename(tmp_path / name)
    file = tmp_path / "models.config"
    config = ModelConfigFile(file, models, "default", port)
    config.reset()

    assert config.refresh() == ("default", "sku-1.0")
    assert [(model.name, model.base_path) for model in read_model_config(file)] == [
        (model, models / model) for model in ("default", "sku-1.0")
    ]
    assert set(tmp_path.iterdir()) == {file, models}


def test_models_come_and_go(tmp_path: Path, port: int) -> None:
    """The file changes with the folder; a server that starts again begins with the main model alone."""
    models, file = _folder(tmp_path, "default"), tmp_path / "models.config"
    config = ModelConfigFile(file, models, "default", port)
    config.reset()
    assert config.refresh() is None
    _folder(tmp_path, "sku")

    assert (config.refresh(), config.refresh()) == (("default", "sku"), None)
    assert _named(file) == ["default", "sku"]
    config.reset()
    assert _named(file) == ["default"]
    (models / "sku").rename(tmp_path / "away")
    assert config.refresh() is None


def test_a_server_that_starts_gets_no_other_models(tmp_path: Path) -> None:
    """It would wait for all of them before it opens its port."""
    file = tmp_path / "models.config"
    (free,) = free_ports(1)
    config = ModelConfigFile(file, _folder(tmp_path, "default", "broken"), "default", free)
    config.reset()

    assert config.refresh() is None
    assert _named(file) == ["default"]


def test_a_path_that_the_config_cannot_say(tmp_path: Path) -> None:
    """Protobuf's texts are UTF-8."""
    config = ModelConfigFile(tmp_path / "models.config", tmp_path / "\udcff", "default", 1)

    with pytest.raises(StackError, match="not UTF-8: rename the folder"):
        config.reset()
