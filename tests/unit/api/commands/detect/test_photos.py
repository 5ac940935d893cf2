from __future__ import annotations

from pathlib import Path

import pytest

from api.commands.detect.photos import Photo, collect, stamp_of
from api.commands.errors import UsageError
from workers.sources.selection import Selection


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder(tmp_path: Path) -> None:
    """All images below it, by their relative names, in order; other files are counted by suffix, hidden ones not."""
    names = (
        "b.PNG",
        "a.jpg",
        "1.HEIC",
        "2.heic",
        "README",
        ".hidden.jpg",
        "sub/deep/c.webp",
        ".git/d.jpg",
        "Thumbs.db",
    )
    _touch(*(tmp_path / name for name in names))

    collected = collect([tmp_path])

    assert [photo.name for photo in collected.photos] == ["a.jpg", "b.PNG", "sub/deep/c.webp"]
    assert [photo.path for photo in collected.photos] == [str(tmp_path / photo.name) for photo in collected.photos]
    assert (collected.skipped, collected.roots) == ({".heic": 2, "none": 1}, (tmp_path,))


def test_folders_that_systems_make(tmp_path: Path) -> None:
    """Previews and resource forks are not photos, as in a folder of the server."""
    _touch(*(tmp_path / name for name in ("a.jpg", "x/@eaDir/a.jpg/S.jpg", "__MACOSX/a.jpg", ".thumbnails/a.jpg")))

    assert [photo.name for photo in collect([tmp_path]).photos] == ["a.jpg"]


def test_files_and_folders(tmp_path: Path) -> None:
    """Several paths are named from what they have in common, each image once, and a file named is always taken."""
    _touch(tmp_path / "x" / "1.jpg", tmp_path / "y" / "1.jpg", tmp_path / "y" / "scan")

    collected = collect(
        [tmp_path / "x", tmp_path / "y" / "scan", tmp_path / "y" / ".." / "y", tmp_path / "x" / "1.jpg"]
    )

    assert [photo.name for photo in collected.photos] == ["x/1.jpg", "y/scan", "y/1.jpg"]
    assert collected.roots == ()
    assert collect([tmp_path / "x", tmp_path / "y"]).roots == (tmp_path / "x", tmp_path / "y")


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names do not depend on how the folder was written."""
    _touch(tmp_path / "in" / "a.jpg")
    monkeypatch.chdir(tmp_path)

    path = str(tmp_path / "in/a.jpg")
    expected = (Photo("a.jpg", path, *stamp_of(path)),)
    assert collect([Path("in/")]).photos == collect([Path("./in/../in")]).photos == expected


def test_nothing_to_do(tmp_path: Path) -> None:
    """A missing path and a folder without images are said to be so, before anything starts."""
    with pytest.raises(UsageError, match="no such file or folder"):
        collect([tmp_path / "gone"])
    _touch(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"no images .*, only other files \(1 \.txt\)\. Name another folder"):
        collect([tmp_path])
    assert collect([tmp_path], empty=True).photos == ()


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    """The folder cannot be given by name then: a server reads no images that lie elsewhere."""
    _touch(tmp_path / "elsewhere.jpg", tmp_path / "photos" / "a.jpg")
    assert collect([tmp_path / "photos"]).roots == (tmp_path / "photos",)
    (tmp_path / "photos" / "c.jpg").symlink_to("a.jpg")
    assert collect([tmp_path / "photos"]).roots == (tmp_path / "photos",)
    (tmp_path / "photos" / "b.jpg").symlink_to(tmp_path / "elsewhere.jpg")

    collected = collect([tmp_path / "photos"])

    assert ([photo.name for photo in collected.photos], collected.roots) == (["a.jpg", "b.jpg", "c.jpg"], ())


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    """It is an image that fails by itself, not the end of the command."""
    _touch(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")

    assert len(collect([tmp_path]).photos) == 2


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    """One line, whatever the system says of it."""
    with pytest.raises(UsageError):
        collect([tmp_path / ("x" * 300)])


def test_a_selection(tmp_path: Path) -> None:
    """By names as they stand in the results; what leaves nothing says so."""
    _touch(*(tmp_path / folder / f"{number}.jpg" for folder in "ab" for number in range(3)), tmp_path / "b" / "x.txt")

    collected = collect([tmp_path], Selection(include=("b/*",), limit=2))

    assert ([photo.name for photo in collected.photos], collected.skipped) == (["b/0.jpg", "b/1.jpg"], {".txt": 1})
    with pytest.raises(UsageError, match="None of 6 images is taken"):
        collect([tmp_path], Selection(include=("*.png",)))


def test_what_a_run_wrote_is_no_photo(tmp_path: Path) -> None:
    """The output folder may lie among the photos; what a run keeps there is not counted either."""
    out = tmp_path / "out"
    _touch(tmp_path / "a.jpg", out / "annotated" / "a.jpg", out / "mine.jpg", out / ".shelfline" / "1" / "run.json")

    collected = collect([tmp_path], without=[tmp_path / "out" / "annotated", tmp_path / "out" / ".shelfline"])

    assert ([photo.name for photo in collected.photos], collected.skipped) == (["a.jpg", "out/mine.jpg"], {})
    with pytest.raises(UsageError, match="no images"):
        collect([out / "annotated"], without=[out / "annotated"])
