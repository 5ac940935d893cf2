"""What a run leaves in its output folder: results.jsonl, and the pictures with their boxes drawn."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from api.errors import UsageError
from serving.errors import ShelflineError
from workers.annotate import draw
from workers.images import decode

_THREADS = 2
_AHEAD = 4 * _THREADS  # results read ahead of the drawing
_QUALITY = 90


class Output:
    """An output folder. Of an earlier run it replaces what that run wrote, and touches nothing else."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; raises UsageError where that cannot be done."""
        self.results = folder / "results.jsonl"
        self.annotated = folder / "annotated"
        self._written = self.annotated / ".shelfline.json"  # the pictures that are ours
        try:
            self.annotated.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.annotated} cannot be made: {error.strerror}.") from error
        for path in (self.results, self._written):  # looked at now, not when the work is done
            if path.is_dir() or not os.access(path.parent, os.W_OK):
                raise UsageError(f"{path} cannot be written: move what is there, or choose another --out.")

    def write_results(self, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Write result lines as they come and yield each; the file appears once it is whole."""
        beside = self.results.with_suffix(f".jsonl.{os.getpid()}.part")  # two commands may have the same folder
        try:
            with beside.open("w", encoding="utf-8") as file:
                for line in lines:
                    file.write(line + "\n")
                    yield json.loads(line)
            beside.replace(self.results)
        finally:
            beside.unlink(missing_ok=True)

    def clear_pictures(self) -> None:
        """Delete the pictures of an earlier run of ours, and the folders that are empty then."""
        with suppress(OSError, ValueError):
            for name in json.loads(self._written.read_text()):
                path = self._inside(str(name))
                if path is None:
                    continue
                path.unlink(missing_ok=True)
                for parent in path.parents:
                    if parent == self.annotated:
                        break
                    with suppress(OSError):  # something of someone else's is in it
                        parent.rmdir()
        self._written.unlink(missing_ok=True)

    def draw_pictures(
        self, image_of: Callable[[Mapping[str, Any]], Path], max_pixels: int, drawn: Callable[[], None]
    ) -> list[str]:
        """Draw every image that succeeded, some at a time; `drawn` is called after each.

        Returns a line for each picture that could not be drawn.
        """
        self.clear_pictures()
        names = list(picture_names(result["name"] for result in self._succeeded()))
        self._written.write_text(json.dumps(names))
        failures: list[str | None] = []
        waiting: deque[Future[str | None]] = deque()
        with ThreadPoolExecutor(_THREADS, "draw") as pool:
            for result, name in zip(self._succeeded(), names, strict=True):
                waiting.append(pool.submit(self._draw, image_of(result), result, name, max_pixels))
                if len(waiting) > _AHEAD:
                    failures.append(waiting.popleft().result())
                    drawn()
            for one in waiting:
                failures.append(one.result())
                drawn()
        return [failure for failure in failures if failure]

    def _succeeded(self) -> Iterator[dict[str, Any]]:
        with self.results.open(encoding="utf-8") as file:
            yield from (result for result in map(json.loads, file) if result["state"] == "succeeded")

    def _draw(self, image: Path, result: Mapping[str, Any], name: str, max_pixels: int) -> str | None:
        path = self._inside(name)
        try:
            if path is None:
                return f"{name}: not drawn, the name leads out of {self.annotated}."
            upright, _, _ = decode(image.read_bytes(), max_pixels)
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(upright, result).save(path, "JPEG", quality=_QUALITY)
        except (OSError, ShelflineError) as error:
            return f"{result['name']}: not drawn: {error}"
        return None

    def _inside(self, name: str) -> Path | None:
        """The path of a picture, None where its name would lead out of the folder."""
        path = Path(os.path.normpath(self.annotated / name))
        return path if path != self.annotated and path.is_relative_to(os.path.normpath(self.annotated)) else None


def picture_names(names: Iterable[str]) -> Iterator[str]:
    """The names of the pictures: the image's with `.jpg`, after its own suffix where two would be the same."""
    taken: set[str] = set()
    for name in names:
        picture = str(PurePath(name).with_suffix(".jpg")) if PurePath(name).name else f"{name}.jpg"
        while picture.casefold() in taken:  # some file systems do not tell A from a
            picture = f"{name}.jpg" if f"{name}.jpg".casefold() not in taken else f"{picture[:-4]}_.jpg"
        taken.add(picture.casefold())
        yield picture
