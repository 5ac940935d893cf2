"""Find the photos of a run in folders and files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from api.commands.errors import UsageError
from workers.io.names import count_skipped, in_words, is_image_name, is_left_out
from workers.sources.origins.named import EVERYTHING
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


@dataclass(frozen=True)
class Collection:
    """Photos, in the order of the results.

    `skipped` are the numbers of other files in the folders, by suffix. `roots` are the folders that contain all the
    photos, with links resolved; a server that may read these folders needs no upload. `roots` is empty if some photo is
    in none of them.
    """

    photos: tuple[Photo, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()


def collect(
    paths: Sequence[Path], selection: Selection = EVERYTHING, *, without: Sequence[Path] = (), empty: bool = False
) -> Collection:
    """Collect the photos of folders and files.

    In a folder, files that are not named like images are skipped and counted; a file that is named itself is always
    taken. Names are relative to the folder if there is only one path, else to the common parent of all photos. The
    selection applies to these names. The folders `without` are left out and not counted. Raises UsageError if a path is
    missing or cannot be read, or if no photo is found and `empty` is False.
    """
    named = ", ".join(map(str, paths))
    try:
        files, skipped = _list_files(paths, [os.path.realpath(folder) for folder in without])
        if not files and not empty:
            other = f", only other files ({in_words(skipped)})" if skipped else ""
            raise UsageError(f"{named}: there are no images (jpg, png, webp, tif, ...){other}. Name another folder.")
        if len(paths) == 1 and paths[0].is_dir():
            base = os.path.normpath(paths[0].absolute())
        else:
            base = os.path.commonpath([os.path.dirname(file) for file in files] or [os.sep])  # noqa: PTH120  no object for each file
        by_name = ((os.path.relpath(file, base), file) for file in files)
        chosen = selection.chosen(by_name, lambda name_and_file: name_and_file[0])
        photos = tuple(Photo(name, file, *stamp_of(file)) for name, file in chosen)
        if not photos and not empty:
            count = f"{len(files)} image{'s'[: len(files) != 1]}"
            raise UsageError(f"None of {count} is taken: change --include, --exclude, --limit or --sample.")
        shared = bool(photos or empty) and all(files[photo.path] for photo in photos)
        roots = tuple(path.resolve() for path in paths if path.is_dir()) if shared else ()
    except (OSError, RuntimeError) as error:  # a name is too long, permission is missing, or links form a circle
        raise UsageError(f"{named} cannot be read: {error}.") from error
    return Collection(photos, skipped, roots)


def stamp_of(path: str) -> tuple[int, int]:
    """Return the size of a file in bytes and its last change (ns since 1970); zeros if the file cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116  no object for each file
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _list_files(paths: Sequence[Path], without: Sequence[str]) -> tuple[dict[str, bool], dict[str, int]]:
    """Return the photos as path -> whether it lies in a given folder, and the numbers of other files by suffix.

    A link out of the folder does not lie in it. Raises OSError, UsageError.
    """
    files: dict[str, bool] = {}
    skipped: dict[str, int] = {}
    for path in paths:
        absolute = os.path.normpath(path.absolute())
        if path.is_dir():
            for file, image, inside in _walk(absolute, without):
                if image:
                    files.setdefault(file, inside)
                else:
                    count_skipped(skipped, os.path.basename(file))  # noqa: PTH119  no object for each file
        elif path.is_file():
            files.setdefault(absolute, False)
        else:
            raise UsageError(f"{path}: there is no such file or folder.")
    return files, skipped


def _walk(folder: str, without: Sequence[str]) -> Iterator[tuple[str, bool, bool]]:
    """Yield the files below a folder in a stable order, as (path, is an image, is inside the folder).

    A link to a file outside the folder is not inside. Folders that are hidden, or that systems make for themselves, are
    left out, as are the folders `without`. Links to folders are not followed. Raises OSError if a folder cannot be
    read, because its images must not be missed silently.
    """

    def fail(error: OSError) -> None:
        raise error

    real = os.path.realpath(folder)
    if any(os.path.commonpath([left_out, real]) == left_out for left_out in without):
        return
    for where, folders, files in os.walk(folder, onerror=fail):
        inside = os.path.relpath(where, folder)
        below = os.path.normpath(os.path.join(real, inside))  # noqa: PTH118  links to folders are not followed
        visible = (name for name in folders if not is_left_out(name))
        folders[:] = sorted(name for name in visible if os.path.join(below, name) not in without)  # noqa: PTH118
        for name in sorted(files):
            path = os.path.join(where, name)  # noqa: PTH118  no object for each file
            image = is_image_name(name)
            yield path, image, image and (not os.path.islink(path) or Path(os.path.realpath(path)).is_relative_to(real))  # noqa: PTH114  no object for each file
