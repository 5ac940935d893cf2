"""Draw the pictures with boxes in the output folder of a run."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from api.commands.detect.line_files import writing
from serving.errors import ShelflineError
from workers.results.drawing import draw, drawing_share, save_jpeg
from workers.sources.decoding import decode

_THREADS = 2
_AT_ONCE = 32  # results that are read before their pictures are drawn
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # errors that every other picture would get too

ContentOf = Callable[[Mapping[str, Any]], bytes]


class Pictures:
    """A folder of at most `max_pictures` drawn pictures. Of an earlier run's files it deletes only the pictures."""

    def __init__(self, folder: Path, max_pictures: int | None = None) -> None:
        self.folder = folder
        self.record = folder / ".shelfline.jsonl"  # the names of the pictures that this command drew
        self.left_out = 0  # pictures that were not drawn because of `max_pictures`
        self.replacing = False  # if True, a later result of the same name replaces the earlier picture
        self._max_pictures = max_pictures
        self._taken: set[str] = set()
        self._names: dict[str, str] = {}  # name of a result -> name of its picture

    def clear(self) -> None:
        """Delete the pictures that an earlier run drew, and the folders that become empty."""
        for path in filter(None, map(self._inside, self._recorded())):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self.folder:
                    break
                with suppress(OSError):  # the folder has other files
                    parent.rmdir()
        with writing(self.record):
            self.record.unlink(missing_ok=True)
        self._taken, self._names, self.left_out = set(), {}, 0

    def draw(
        self,
        results: Iterable[Mapping[str, Any]],
        content_of: ContentOf,
        max_pixels: int,
        drawn: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Draw pictures of the results that succeeded, in two threads; pictures that were drawn before stay.

        `content_of` returns the bytes of a result's image, or raises OSError or ShelflineError. `drawn` is called
        after each picture. Returns a message for each picture that could not be drawn. Raises OutputError if the disk
        is full or fails.
        """
        failures = []
        named = self._named(results)
        with ThreadPoolExecutor(_THREADS, "draw") as pool:
            while chunk := list(itertools.islice(named, _AT_ONCE)):
                for failure in pool.map(lambda pair: self._draw(content_of, max_pixels, *pair), chunk):
                    if failure:
                        failures.append(failure)
                    drawn()
        return failures

    def _named(self, results: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Yield the results to draw, each with the name of its picture.

        A name is recorded before its picture is written, so that a later run can delete the picture even after a kill.
        """
        with writing(self.record), self.record.open("a", encoding="utf-8") as record:
            for result in results:
                if result["state"] != "succeeded":
                    continue
                image = str(result["name"])
                if self.replacing and image in self._names:
                    yield result, self._names[image]
                elif self._max_pictures is not None and len(self._taken) >= self._max_pictures:
                    self.left_out += 1
                else:
                    name = self._names[image] = picture_name(image, self._taken)
                    record.write(json.dumps(name) + "\n")
                    record.flush()
                    yield result, name

    def _recorded(self) -> Iterator[str]:
        with suppress(OSError), self.record.open(encoding="utf-8", errors="replace") as record:
            for line in record:
                with suppress(ValueError):
                    yield str(json.loads(line))

    def _draw(self, content_of: ContentOf, max_pixels: int, result: Mapping[str, Any], name: str) -> str | None:
        path = self._inside(name)
        if path is None:
            return f"{name}: not drawn: its name leads out of {self.folder}."
        with drawing_share(max_pixels, result, max_pixels) as share:
            try:
                upright, _, _ = decode(content_of(result), max_pixels, share=share)
            except (OSError, ShelflineError) as error:
                return f"{result['name']}: not drawn: {error}"
            picture = draw(upright, result)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_jpeg(picture, path)
            except OSError as error:
                if error.errno in _DISK:
                    with writing(path):
                        raise
                return f"{result['name']}: not drawn: {error}"
        return None

    def _inside(self, name: str) -> Path | None:
        """Return the path of a picture, None if its name leads out of the folder."""
        path = Path(os.path.normpath(self.folder / name))
        return path if path != self.folder and path.is_relative_to(os.path.normpath(self.folder)) else None


def picture_name(name: str, taken: set[str]) -> str:
    """Return a name for a picture that is not in `taken`, and add it there.

    The name is the image's name with the suffix `.jpg`. If that is taken, `.jpg` is appended to the image's full name.
    If that is taken too, underscores are inserted before `.jpg`.
    """
    picture = str(PurePath(name).with_suffix(".jpg")) if PurePath(name).name else f"{name}.jpg"
    while picture.casefold() in taken:  # some file systems ignore case
        picture = f"{name}.jpg" if f"{name}.jpg".casefold() not in taken else f"{picture[:-4]}_.jpg"
    taken.add(picture.casefold())
    return picture
