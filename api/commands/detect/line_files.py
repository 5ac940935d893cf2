"""Files of JSON lines that are appended to, and may end in an incomplete line after a kill or on a full disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.commands.errors import OutputError

SUCCEEDED = b'"state":"succeeded"'  # no name can contain this, since its quotes would be escaped


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while a path is written into OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename or path} cannot be written ({error.strerror}): make room or give access, and run the "
            "same command again. It goes on where it was."
        ) from error


def count_results(path: Path) -> tuple[int, int]:
    """Return the number of results in a file, and how many of them did not succeed; zeros if the file is missing.

    A result is a whole line; an incomplete last line is cut off.
    """
    results = failed = size = 0
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return 0, 0
    with file:
        for line in file:
            if line.endswith(b"\n"):
                results += 1
                failed += SUCCEEDED not in line
                size += len(line)
            else:
                file.truncate(size)
    return results, failed


def kept_lines(path: Path) -> Iterable[Any]:
    """Yield the parsed whole lines of a file; raises ValueError if a line is not JSON."""
    if count_results(path) != (0, 0):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
