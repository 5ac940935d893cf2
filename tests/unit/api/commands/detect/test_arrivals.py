from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.commands.detect.arrivals import Arrivals, is_being_written
from api.commands.detect.photos import Photo, stamp_of


class Folder:
    """A folder that is looked at, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.looks = 0

    def put(self, name: str, content: bytes, age: float = 0.0) -> None:
        """Write a file that was changed last so many seconds ago."""
        (self.path / name).write_bytes(content)
        changed = time.time() - age
        os.utime(self.path / name, (changed, changed))

    def photos(self) -> list[Photo]:
        """What is there."""
        self.looks += 1
        return [Photo(path.name, str(path), *stamp_of(str(path))) for path in sorted(self.path.glob("*.jpg"))]

    def arrivals(self, *known: Photo) -> Arrivals:
        """Its arrivals."""
        return Arrivals(self.photos, known, lambda: self.now)

    def later(self, arrivals: Arrivals, seconds: float) -> list[str]:
        """The names that are taken so many seconds later."""
        self.now += seconds
        return [photo.name for photo in arrivals.take()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(autouse=True)
def _no_sigio() -> Iterator[None]:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


def test_what_is_there_is_taken_at_once(folder: Folder) -> None:
    """What was written just now may not be whole; what is known is not new."""
    folder.put("old.jpg", b"x", age=60)
    folder.put("new.jpg", b"x")
    folder.put("known.jpg", b"x", age=60)
    known = str(folder.path / "known.jpg")
    arrivals = folder.arrivals(Photo("known.jpg", known, *stamp_of(known)))

    assert folder.later(arrivals, 0) == ["old.jpg"]
    assert arrivals.waiting == 1
    assert folder.later(arrivals, 1.5) == []
    assert folder.later(arrivals, 1.5) == ["new.jpg"]
    assert (folder.later(arrivals, 100), arrivals.waiting) == ([], 0)


def test_a_photo_that_is_being_written_is_waited_for(folder: Folder) -> None:
    """As long as it grows, and it is then of the size that it has then."""
    arrivals = folder.arrivals()
    folder.later(arrivals, 0)
    for size in range(1, 6):
        folder.put("a.jpg", b"x" * size)
        assert folder.later(arrivals, 1.9) == []
    folder.now += 2.0
    (taken,) = arrivals.take()
    assert (taken.name, taken.size) == ("a.jpg", 5)


def test_a_photo_that_is_open_for_writing_is_waited_for(folder: Folder) -> None:
    """However long its writer pauses."""
    with (folder.path / "a.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        if not is_being_written(str(folder.path / "a.jpg")):
            pytest.skip("this file system does not tell")
        arrivals = folder.arrivals()
        assert folder.later(arrivals, 0) == []
        assert folder.later(arrivals, 100) == []
    assert folder.later(arrivals, 100) == ["a.jpg"]


def test_a_file_without_a_byte_is_waited_for_longer(folder: Folder) -> None:
    """It was made to be written; if it stays so, it is an image that fails."""
    arrivals = folder.arrivals()
    folder.later(arrivals, 0)
    folder.put("a.jpg", b"")
    assert folder.later(arrivals, 2) == []
    assert folder.later(arrivals, 29) == []
    assert folder.later(arrivals, 1) == ["a.jpg"]


def test_what_goes_and_what_is_replaced(folder: Folder) -> None:
    """A photo that goes again is none; another one in its place is a new one, of whatever size."""
    arrivals = folder.arrivals()
    folder.later(arrivals, 0)
    folder.put("a.jpg", b"x")
    folder.later(arrivals, 2)
    (folder.path / "a.jpg").unlink()
    assert folder.later(arrivals, 2) == []
    folder.put("a.jpg", b"x")
    folder.later(arrivals, 2)
    assert folder.later(arrivals, 2) == ["a.jpg"]
    for content in (b"xx", b"yy"):
        folder.put("a.jpg", content)
        folder.later(arrivals, 2)
        assert folder.later(arrivals, 2) == ["a.jpg"]
    assert folder.later(arrivals, 100) == []


def test_looking_takes_little_of_the_time(folder: Folder) -> None:
    """A look of a folder that takes a second is followed by a pause of twenty."""

    def slowly() -> list[Photo]:
        photos = folder.photos()
        folder.now += 1
        return photos

    arrivals = Arrivals(slowly, (), lambda: folder.now)
    for _ in range(84):
        folder.later(arrivals, 0.5)
    assert folder.looks == 3
