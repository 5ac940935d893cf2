"""Which images a job has: folders walked, manifests written and read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.errors import FolderNotAllowedError, FolderNotFoundError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
)


def is_image_name(name: str) -> bool:
    """Whether a file's name says that it is an image; hidden files never are."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True)
class FoundFile:
    """A file below a folder: its size in bytes and mtime, None of what cannot be looked at.

    With `error` it is a folder below that cannot be read: its images must not be missed without a word.
    """

    path: Path
    size: int | None = None
    mtime: float | None = None
    error: str = ""


def walk_images(folder: Path) -> Iterator[FoundFile]:
    """What is named like an image below a folder, in a stable order; hidden folders and links to folders are left out.

    Raises FolderNotFoundError where the folder itself cannot be read.
    """
    unreadable: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=unreadable.append):
        yield from _errors_below(folder, unreadable)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_image_name(name):
                yield _look_at(Path(where, name))
    yield from _errors_below(folder, unreadable)


def _look_at(path: Path) -> FoundFile:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:  # gone meanwhile: its turn will tell
        return FoundFile(path)
    return FoundFile(path, found.st_size, found.st_mtime)


def _errors_below(folder: Path, unreadable: list[OSError]) -> Iterator[FoundFile]:
    for error in unreadable:
        where = Path(os.fsdecode(error.filename))
        if where == folder:
            raise FolderNotFoundError(f"The folder cannot be read: {error.strerror}.") from error
        yield FoundFile(where, error=f"The folder cannot be read: {error.strerror}.")
    unreadable.clear()


def printable(name: str) -> str:
    """A file's name as text that any JSON reader takes: what is not UTF-8 is escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def within_roots(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a path, its links resolved, lies under one of the roots."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)


def allowed_folder(folder: str, roots: tuple[Path, ...]) -> Path:
    """The folder, if jobs may read it; raises FolderNotAllowedError, FolderNotFoundError."""
    if not roots:
        raise FolderNotAllowedError("This server reads no folders: set SHELFLINE_FOLDER_ROOTS, or upload the images.")
    path = Path(folder)
    try:
        allowed = "\0" not in folder and path.is_absolute() and within_roots(path, roots)
        found = allowed and path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, links that lead in a circle, no permission
        raise FolderNotFoundError(f"The folder cannot be looked at: {error}.") from error
    # Outside the roots the answer is the same whether the folder exists: nobody is told what lies there.
    if not allowed:
        raise FolderNotAllowedError(
            "The folder is not an absolute path under an allowed root: see SHELFLINE_FOLDER_ROOTS."
        )
    if not found:
        raise FolderNotFoundError("There is no such folder on the server.")
    return path
