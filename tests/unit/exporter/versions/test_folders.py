from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import ExportError, VersionExistsError
from exporter.versions.folders import (
    complete_versions,
    model_folder,
    name_of_file,
    named_folder,
    next_free,
    publish,
    require_free,
    used_numbers,
)


@pytest.mark.parametrize("name", ["", "..", "../shop", "a/b", "/shop", ".shop", "a b", "shop\n"])
def test_a_model_s_folder_lies_in_the_models_folder(name: str) -> None:
    """A name is no path."""
    assert Path("models/shop-2.x") == model_folder(Path("models"), "shop-2.x")
    with pytest.raises(ExportError, match=r"^name: "):
        model_folder(Path("models"), name)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("shelf.keras", "shelf"),
        ("best_saved_model", "best"),
        ("best.v2.onnx", "best.v2"),
        ("sku/1", "sku"),
        ("zoo/saved_model", "zoo"),
        ("绿茶 [v2] x", "v2-x"),
        ("_my shelf_", "my-shelf"),
        ("绿茶", ""),
    ],
)
def test_a_model_is_called_as_its_file(file: str, name: str) -> None:
    """Of which only what may be in a name stays. A name that is given goes first; there must be one."""
    assert name_of_file(Path(file)) == name
    assert named_folder(Path("models"), "tea", Path(file)) == Path("models/tea")
    if name:
        assert named_folder(Path("models"), None, Path(file)) == Path("models", name)
    else:
        with pytest.raises(ExportError, match=r"No name of a model can be made of 绿茶.*give one with --name"):
            named_folder(Path("models"), None, Path(file))


def write(folder: Path) -> None:
    """The least that counts as a SavedModel."""
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")


def test_versions_count_up(tmp_path: Path) -> None:
    """The first is 1; nothing but the versions is left in the folder."""
    model = tmp_path / "models" / "shop"

    published = [publish(model, write), publish(model, write)]

    assert [model / "1", model / "2"] == published == sorted(model.iterdir())
    assert {1: model / "1", 2: model / "2"} == complete_versions(model)


def test_disabled_and_incomplete_versions_keep_their_numbers(tmp_path: Path) -> None:
    """A number that was served once must never mean another model."""
    for name in ("00000003", "7.disabled", "5", "notes", ".exporting-12"):
        (tmp_path / name).mkdir()

    assert {3, 5, 7} == used_numbers(tmp_path)
    assert next_free(tmp_path) == 8
    assert complete_versions(tmp_path) == {}
    with pytest.raises(VersionExistsError, match="Version 7 "):
        publish(tmp_path, write, version=7)


def test_a_version_of_ones_own_choice(tmp_path: Path) -> None:
    """It may leave a gap, but never replace what is there."""
    assert tmp_path / "20" == publish(tmp_path, write, version=20)
    with pytest.raises(VersionExistsError):
        publish(tmp_path, write, version=20)
    assert [tmp_path / "20"] == list(tmp_path.iterdir())


def test_what_could_not_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """And nothing is made for the question."""
    (tmp_path / "file").touch()
    (tmp_path / "shop" / "2.disabled").mkdir(parents=True)

    require_free(tmp_path / "new" / "deep", 1)
    require_free(tmp_path / "shop", None)
    require_free(tmp_path / "shop", 1)
    with pytest.raises(VersionExistsError, match=r"Version 2 of .* leave the number out"):
        require_free(tmp_path / "shop", 2)
    with pytest.raises(ExportError, match=r"Cannot make the folder .* is a file"):
        require_free(tmp_path / "file" / "shop", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "shop"]


def test_two_exports_at_once_get_two_numbers(tmp_path: Path) -> None:
    """The one that comes second moves up instead of replacing the first."""

    def slow_write(folder: Path) -> None:
        write(folder)
        if not complete_versions(tmp_path):
            publish(tmp_path, write)

    assert tmp_path / "2" == publish(tmp_path, slow_write)
    assert list(complete_versions(tmp_path)) == [1, 2]


def test_a_number_that_is_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Neither when it was asked for by number."""

    def slow_write(folder: Path) -> None:
        write(folder)
        write(tmp_path / "4")

    with pytest.raises(VersionExistsError, match="by now"):
        publish(tmp_path, slow_write, version=4)
    assert [tmp_path / "4"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ExportError("bad weights"), KeyError("x")])
def test_a_failed_export_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    """No draft, no number, nor the folders that were made for it."""

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"half")
        raise error

    with pytest.raises(ExportError if isinstance(error, OSError) else type(error)):
        publish(tmp_path / "models" / "shop", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    """One line that names it."""
    (tmp_path / "models").write_text("no folder")

    with pytest.raises(ExportError, match="Cannot make the folder"):
        publish(tmp_path / "models" / "shop", write)
