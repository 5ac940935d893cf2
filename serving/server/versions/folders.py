"""What lies in a model's folder: its versions, and whether one of them was written to."""

from __future__ import annotations

from pathlib import Path

from serving.server.versions.policy import version_number


def version_folders(base: Path) -> dict[int, Path]:
    """The folders under `base` whose names are numbers; of two spellings the first. OSError where it is away."""
    found: dict[int, Path] = {}
    for folder in sorted(base.iterdir()):
        number = version_number(folder.name)
        if number is not None and folder.is_dir():
            found.setdefault(number, folder)
    return found


def fingerprint(folder: Path) -> object:
    """What the folder holds: names, sizes and times of change; another value means it was written to."""
    seen = []
    for path in sorted(folder.rglob("*")):
        try:
            facts = path.stat()
        except OSError:
            continue
        seen.append((str(path), facts.st_size, facts.st_mtime_ns))
    return tuple(seen)
