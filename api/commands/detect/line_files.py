"""Files of whole lines, JSON each, that are appended to until the disk is full or the command is killed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.commands.errors import OutputError

SUCCEEDED = b'"state":"succeeded"'  # can stand in no name: there the quotes would be escaped
PIECE_BYTES = 1 << 20


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk says while a path is written into OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename or path} cannot be written ({error.strerror}): make room or give access, and run the "
            "same command again: it goes on where it was."
        ) from error


def count_lines(path: Path) -> int:
    """The whole lines of a file, 0 where there is none; what a death left of another is cut off."""
    lines = whole = behind = 0
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return 0
    with file:
        while piece := file.read(PIECE_BYTES):
            lines += piece.count(b"\n")
            if (last := piece.rfind(b"\n")) >= 0:
                whole = behind + last + 1
            behind += len(piece)
        if behind > whole:
            file.truncate(whole)
    return lines


def count_results(path: Path) -> tuple[int, int]:
    """The results in a file, and how many of them did not succeed."""
    if not (lines := count_lines(path)):
        return 0, 0
    with path.open("rb") as file:
        return lines, sum(SUCCEEDED not in line for line in file)


def kept_lines(path: Path) -> Iterable[Any]:
    """What the whole lines of a file say, each JSON; raises ValueError where one is not."""
    if count_lines(path):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
