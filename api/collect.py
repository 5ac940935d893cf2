"""Which images a command was given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.errors import UsageError
from workers.sources import walk_images


@dataclass(frozen=True)
class Collection:
    """Images by name, in the order of the job.

    `folder` is set where they are all the images of one folder, none of them a link to elsewhere.
    """

    images: tuple[tuple[str, Path], ...]
    skipped: int
    folder: Path | None


def collect(paths: Sequence[Path]) -> Collection:
    """The images of folders and files. A folder's other files are skipped and counted, a file named is always taken.

    Names are relative to the one folder, or to what several paths have in common. Raises UsageError where a path is
    missing or no image is found.
    """
    try:
        return _collect(paths)
    except (OSError, RuntimeError) as error:  # a name too long, no permission, links that lead in a circle
        raise UsageError(f"{', '.join(map(str, paths))} cannot be looked at: {error}.") from error


def _collect(paths: Sequence[Path]) -> Collection:
    found: list[Path] = []
    skipped = 0
    for path in paths:
        if path.is_dir():
            images = [image.path.absolute() for image in walk_images(path)]
            found += images
            skipped += sum(1 for _ in _files(path)) - len(images)
        elif path.is_file():
            found.append(path.absolute())
        else:
            raise UsageError(f"{path}: there is no such file or folder.")
    unique = list(dict.fromkeys(Path(os.path.normpath(one)) for one in found))
    if not unique:
        raise UsageError(
            f"{', '.join(map(str, paths))}: there are no images (jpg, png, webp, tif, ...){_other(skipped)}."
        )
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    base = _normal(folder) if folder else Path(os.path.commonpath([one.parent for one in unique]))
    images_by_name = tuple((str(one.relative_to(base)), one) for one in unique)
    shared = folder.resolve() if folder and all(_lies_in(folder, image) for image in unique) else None
    return Collection(images_by_name, skipped, shared)


def _lies_in(folder: Path, image: Path) -> bool:
    """Whether an image, its links resolved, lies in the folder: a server that is given the folder reads no other."""
    try:
        return image.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True  # it cannot be read in either way, and fails by itself


def _files(folder: Path) -> Iterator[str]:
    for _, _, files in os.walk(folder):
        yield from files


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _other(skipped: int) -> str:
    return f", only {skipped} other file{'s'[: skipped > 1]}" if skipped else ""
