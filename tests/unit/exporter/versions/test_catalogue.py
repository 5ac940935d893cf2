from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ExportError
from exporter.models_command import list_command, with_default_command
from exporter.versions.catalogue import list_versions, remove, roll_back, write_contract
from exporter.versions.folders import complete_versions, next_free
from serving.contract import Contract, Label

CONTRACT = Contract(
    name="shop",
    input_height=32,
    input_width=32,
    score_threshold=0.3,
    nms_iou=0.5,
    max_detections=20,
    labels=(Label(id=1, name="tea"),),
    weights_sha256="0" * 64,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with the versions 1 to 3, the second without a contract."""
    for number in (1, 2, 3):
        folder = tmp_path / "shop" / str(number)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"x" * 1000)
        if number != 2:
            write_contract(folder, CONTRACT)
    return tmp_path / "shop"


def test_versions_are_listed_newest_first(model: Path) -> None:
    """With what is known of each; other folders' models as well where no name is given."""
    records = list_versions(model.parent)

    assert [record.number for record in records] == [3, 2, 1]
    assert [record.contract for record in records] == [CONTRACT, None, CONTRACT]
    assert records[1].size == 1000
    assert records == list_versions(model.parent, "shop")
    with pytest.raises(ExportError, match="no exported model"):
        list_versions(model.parent, "other")


def test_the_list_says_what_describes_a_version(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own contract, the file beside its versions, or nothing."""
    list_command(models=model.parent)
    (model / "contract.toml").touch()
    list_command("shop", models=model.parent)

    third, second, _, _, described, _ = capsys.readouterr().out.splitlines()
    assert third.startswith("shop 3; 0.0 MB; 32x32 bilinear, 1 labels, score > 0.3, NMS 0.5, at most 20; sha256 000")
    assert second == "shop 2; 0.0 MB; no contract in it or beside it"
    assert described == f"shop 2; 0.0 MB; described by {model / 'contract.toml'}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resize": "area", "resize_mode": "letterbox"}, "32x32 area letterbox, 1 labels, score > 0.3, NMS 0.5, at"),
        ({"antialias": False}, "32x32 bilinear without antialias, 1 labels, score > 0.3, NMS 0.5, at"),
        ({"nms": "agnostic"}, "32x32 bilinear, 1 labels, score > 0.3, NMS 0.5 among all classes, at"),
        ({"nms": "none", "thresholds": {"tea": 0.6}}, "1 labels, score > 0.6, no NMS, at most 20"),
    ],
)
def test_the_list_says_how_photos_are_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], said: str
) -> None:
    """Whoever calls the model by itself needs to know."""
    folder = tmp_path / "shop" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    write_contract(folder, CONTRACT.model_copy(update=fields))

    list_command(models=tmp_path)

    assert said in capsys.readouterr().out


def test_rolling_back_disables_what_is_newer(model: Path) -> None:
    """And forward again: the version comes back under its own number."""
    assert roll_back(model, 1) == [2, 3]
    assert list(complete_versions(model)) == [1]
    assert [record.enabled for record in list_versions(model.parent)] == [False, False, True]
    assert next_free(model) == 4

    assert roll_back(model, 3) == []
    assert list(complete_versions(model)) == [1, 3]
    with pytest.raises(ExportError, match="no version 9; it has 1, 2, 3"):
        roll_back(model, 9)


def test_a_removed_number_is_not_given_again(model: Path) -> None:
    """Or two models would have answered under one version in the results."""
    roll_back(model, 1)
    remove(model, 3)
    remove(model, 2)

    assert sorted(path.name for path in model.iterdir()) == ["1", "3.disabled"]
    assert next_free(model) == 4
    assert [record.number for record in list_versions(model.parent)] == [1]


def test_the_served_version_is_not_removed(model: Path) -> None:
    """Nor one that is not there."""
    with pytest.raises(ExportError, match="roll back first"):
        remove(model, 3)
    with pytest.raises(ExportError, match="no version 7"):
        remove(model, 7)
    assert list(complete_versions(model)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["models"], ["models", "list"]),
        (["models", "shop"], ["models", "list", "shop"]),
        (["models", "--models", "x"], ["models", "list", "--models", "x"]),
        (["models", "verify", "shop"], ["models", "verify", "shop"]),
        (["models", "--help"], ["models", "--help"]),
        (["demo"], ["demo"]),
        ([], []),
    ],
)
def test_models_without_a_command_lists(given: list[str], meant: list[str]) -> None:
    """`models NAME` is what one types most."""
    assert meant == with_default_command(given)
