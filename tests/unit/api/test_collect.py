from __future__ import annotations

from pathlib import Path

import pytest

from api.collect import collect
from api.errors import UsageError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder(tmp_path: Path) -> None:
    """All images below it, by their relative names, in order; other and hidden files are counted."""
    _touch(
        *(tmp_path / name for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.jpg", "sub/deep/c.webp", ".git/d.jpg"))
    )

    found = collect([tmp_path])

    assert [name for name, _ in found.images] == ["a.jpg", "b.PNG", "sub/deep/c.webp"]
    assert [path for _, path in found.images] == [tmp_path / name for name, _ in found.images]
    assert (found.skipped, found.folder) == (3, tmp_path)


def test_files_and_folders(tmp_path: Path) -> None:
    """Several paths are named from what they have in common, each image once, and a file named is always taken."""
    _touch(tmp_path / "x" / "1.jpg", tmp_path / "y" / "1.jpg", tmp_path / "y" / "scan")

    found = collect([tmp_path / "x", tmp_path / "y" / "scan", tmp_path / "y" / ".." / "y", tmp_path / "x" / "1.jpg"])

    assert [name for name, _ in found.images] == ["x/1.jpg", "y/scan", "y/1.jpg"]
    assert found.folder is None


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names do not depend on how the folder was written."""
    _touch(tmp_path / "in" / "a.jpg")
    monkeypatch.chdir(tmp_path)

    assert collect([Path("in/")]).images == collect([Path("./in/../in")]).images == (("a.jpg", tmp_path / "in/a.jpg"),)


def test_nothing_to_do(tmp_path: Path) -> None:
    """A missing path and a folder without images are said to be so, before anything starts."""
    with pytest.raises(UsageError, match="no such file or folder"):
        collect([tmp_path / "gone"])
    _touch(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"no images .*only 1 other file"):
        collect([tmp_path])


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    """The folder cannot be given by name then: a server reads no images that lie elsewhere."""
    _touch(tmp_path / "elsewhere.jpg", tmp_path / "photos" / "a.jpg")
    assert collect([tmp_path / "photos"]).folder == tmp_path / "photos"
    (tmp_path / "photos" / "b.jpg").symlink_to(tmp_path / "elsewhere.jpg")

    found = collect([tmp_path / "photos"])

    assert ([name for name, _ in found.images], found.folder) == (["a.jpg", "b.jpg"], None)


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    """It is an image that fails by itself, not the end of the command."""
    _touch(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")

    assert len(collect([tmp_path]).images) == 2


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    """One line, whatever the system says of it."""
    with pytest.raises(UsageError):
        collect([tmp_path / ("x" * 300)])
