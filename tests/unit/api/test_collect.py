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
