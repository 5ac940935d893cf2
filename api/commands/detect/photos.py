"""Find the photos of a run in folders and files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.commands.errors import UsageError
from workers.io.folders import is_image_name
from workers.sources.selection import Selection


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: its name in the results, its absolute path, its size (bytes) and last change (ns) when listed."""

    name: str
    path: str
    size: int = 0
    changed: int = 0

    @property
    def stamp(self) -> tuple[int, int]:
        """The size and last change; another photo at the same path has another stamp."""
        return self.size, self.changed


def stamp_of(path: str) -> tuple[int, int]:
    """Return the size of a file in bytes and its last change (ns since 1970); zeros if the file cannot be read."""
    try:
        found = os.stat(path)  # noqa: PTH116  100,000 of them: no object for each
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


EVERYTHING = Selection()


@dataclass(frozen=True)
class Collection:
    """Photos, in the order of the results.

    `skipped` is the number of other files in the folders. `roots` are the folders that contain all the photos, with
    links resolved; a server that may read these folders needs no upload. `roots` is empty if some photo is in none
    of them.
    """

    photos: tuple[Photo, ...]
    skipped: int
    roots: tuple[Path, ...]


def collect(
    paths: Sequence[Path], selection: Selection = EVERYTHING, *, without: Sequence[Path] = (), empty: bool = False
) -> Collection:
    """Collect the photos of folders and files.

    In a folder, files that are not images are skipped and counted; a file that is named itself is always taken. Names
    are relative to the folder if there is only one path, else to the common parent of all photos. The selection
    applies to these names. The folders `without` are left out and not counted. Raises UsageError if a path is missing
    or cannot be read, or if no photo is found and `empty` is False.
    """
    try:
        return _collect(paths, selection, [os.path.realpath(one) for one in without], empty=empty)
    except (OSError, RuntimeError) as error:  # a name is too long, permission is missing, or links form a circle
        raise UsageError(f"{', '.join(map(str, paths))} cannot be looked at: {error}.") from error


def _collect(paths: Sequence[Path], selection: Selection, without: Sequence[str], *, empty: bool) -> Collection:
    found: dict[str, bool] = {}  # path -> whether it is inside a given folder and no link out of it
    skipped = 0
    for path in paths:
        if path.is_dir():
            for file, image, inside in _files(os.path.normpath(path.absolute()), without):
                if image:
                    found.setdefault(file, inside)
                else:
                    skipped += 1
        elif path.is_file():
            found.setdefault(os.path.normpath(path.absolute()), False)
        else:
            raise UsageError(f"{path}: there is no such file or folder.")
    if not found and not empty:
        raise UsageError(
            f"{', '.join(map(str, paths))}: there are no images (jpg, png, webp, tif, ...){_other(skipped)}."
        )
    one_folder = len(paths) == 1 and paths[0].is_dir()
    base = os.path.normpath(paths[0].absolute()) if one_folder else _common(found)
    photos = tuple(
        Photo(name, file, *stamp_of(file))
        for name, file in selection.chosen(((os.path.relpath(file, base), file) for file in found), lambda one: one[0])
    )
    if not photos and not empty:
        raise UsageError(f"None of {_counted(len(found))} is taken: look at --include, --exclude, --limit, --sample.")
    shared = bool(photos or empty) and all(found[one.path] for one in photos)
    roots = tuple(path.resolve() for path in paths if path.is_dir()) if shared else ()
    return Collection(photos, skipped, roots)


def _files(folder: str, without: Sequence[str]) -> Iterator[tuple[str, bool, bool]]:
    """Yield the files below a folder in a stable order, as (path, is an image, is inside the folder).

    A link to a file outside the folder is not inside. Files in hidden folders do not count as images, and links to
    folders are not followed. The folders `without`, and everything below them, are left out. Raises OSError if a
    folder cannot be read, because its images must not be missed silently.
    """
    real = os.path.realpath(folder)
    if any(os.path.commonpath([one, real]) == one for one in without):
        return
    for where, folders, files in os.walk(folder, onerror=_raise):
        inside = os.path.relpath(where, folder)
        below = os.path.normpath(os.path.join(real, inside))  # noqa: PTH118  links to folders are not followed
        folders[:] = sorted(one for one in folders if os.path.join(below, one) not in without)  # noqa: PTH118
        hidden = any(part.startswith(".") for part in Path(inside).parts)
        for name in sorted(files):
            path = os.path.join(where, name)  # noqa: PTH118  100,000 of them: no object for each
            if hidden or not is_image_name(name):
                yield path, False, False
            else:
                yield path, True, not os.path.islink(path) or _lies_in(path, real)  # noqa: PTH114  likewise


def _lies_in(link: str, folder: str) -> bool:
    return Path(os.path.realpath(link)).is_relative_to(folder)


def _raise(error: OSError) -> None:
    raise error


def _common(files: dict[str, bool]) -> str:
    return os.path.commonpath([os.path.dirname(one) for one in files]) if files else os.sep  # noqa: PTH120  likewise


def _counted(number: int) -> str:
    return f"{number} image{'s'[: number != 1]}"


def _other(skipped: int) -> str:
    return f", only {skipped} other file{'s'[: skipped > 1]}" if skipped else ""
