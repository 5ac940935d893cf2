"""Folders of the server: which ones jobs may read, and the image files below them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.errors import FolderNotAllowedError, FolderNotFoundError
from workers.io.names import count_skipped, is_image_name, is_left_out


@dataclass(frozen=True)
class FoundFile:
    """A file below a folder: size in bytes and mtime in seconds since the epoch, None if they cannot be read.

    If `error` is set it is a folder that cannot be read: it becomes a failed image, so that the caller learns of it.
    """

    path: Path
    size: int | None = None
    mtime: float | None = None
    error: str = ""


def walk_images(folder: Path, skipped: dict[str, int] | None = None) -> Iterator[FoundFile]:
    """Yield the files below a folder that are named like images, in a stable order.

    Hidden folders, folders that systems make for themselves, and links to folders are left out. Other
    files are counted in `skipped` by suffix. Raises FolderNotFoundError if the folder itself cannot be read.
    """
    unreadable: list[OSError] = []
    for below, folders, files in os.walk(folder, onerror=unreadable.append):
        yield from _errors_below(folder, unreadable)
        folders[:] = sorted(name for name in folders if not is_left_out(name))
        for name in sorted(files):
            if is_image_name(name):
                yield _look_at(Path(below, name))
            elif skipped is not None:
                count_skipped(skipped, name)
    yield from _errors_below(folder, unreadable)


def _look_at(path: Path) -> FoundFile:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:  # deleted meanwhile: the worker fails the image when it reads the file
        return FoundFile(path)
    return FoundFile(path, status.st_size, status.st_mtime)


def _errors_below(folder: Path, unreadable: list[OSError]) -> Iterator[FoundFile]:
    for error in unreadable:
        path = Path(os.fsdecode(error.filename))
        if path == folder:
            raise FolderNotFoundError(f"The folder cannot be read: {error.strerror}.") from error
        yield FoundFile(path, error=f"The folder cannot be read: {error.strerror}.")
    unreadable.clear()


def within_roots(path: Path, roots: Iterable[Path]) -> bool:
    """Return whether a path, its links resolved, lies under one of the roots."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)


def allowed_folder(folder: str, roots: tuple[Path, ...]) -> Path:
    """Return the folder, if jobs may read it. Raises FolderNotAllowedError, FolderNotFoundError."""
    if not roots:
        raise FolderNotAllowedError("This server reads no folders: set SHELFLINE_FOLDER_ROOTS, or upload the images.")
    path = Path(folder)
    try:
        allowed = "\0" not in folder and path.is_absolute() and within_roots(path, roots)
        exists = allowed and path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, links that lead in a circle, no permission
        raise FolderNotFoundError(f"The folder cannot be read: {error}.") from error
    # Outside the roots the answer does not depend on whether the folder exists, so that callers cannot probe for paths.
    if not allowed:
        raise FolderNotAllowedError(
            "The folder is not an absolute path under an allowed root: see SHELFLINE_FOLDER_ROOTS."
        )
    if not exists:
        raise FolderNotFoundError("There is no such folder on the server.")
    return path
