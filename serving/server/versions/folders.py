"""Find the versions in a model's folder and detect changes of their files."""

from __future__ import annotations

from pathlib import Path

from serving.server.versions.policy import version_number


def version_folders(base: Path) -> dict[int, Path]:
    """Return the folders in `base` whose names are numbers, by number.

    If several names are the same number (`05` and `5`), the shortest counts, as in TF Serving. Raises OSError if `base`
    cannot be read.
    """
    folders: dict[int, Path] = {}
    for folder in sorted(base.iterdir(), key=lambda path: len(path.name)):
        number = version_number(folder.name)
        if number is not None and folder.is_dir():
            folders.setdefault(number, folder)
    return folders


def fingerprint(folder: Path) -> object:
    """Return the names, sizes and modification times of all files. The value differs after any change of the folder."""
    seen = []
    for path in sorted(folder.rglob("*")):
        try:
            facts = path.stat()
        except OSError:
            continue
        seen.append((str(path), facts.st_size, facts.st_mtime_ns))
    return tuple(seen)
