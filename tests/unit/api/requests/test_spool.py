from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.errors import SpoolFullError
from api.requests.spool import Spool, SpooledPart


@pytest.fixture
def spool() -> Iterator[Spool]:
    """An empty spool."""
    with contextlib.closing(Spool()) as made:
        yield made


@pytest.mark.parametrize("times", [1000, 40_000, 100_000])
def test_parts_share_one_file(spool: Spool, times: int) -> None:
    """Each part reads back what was written to it, whatever the order of reading, and wherever it is kept."""
    parts = []
    for content in (b"first" * times, b"", b"third" * 20_000):
        part = SpooledPart(spool)
        part.write(content)
        part.seek(0)
        parts.append(part)

    assert [part.read() for part in reversed(parts)] == [b"third" * 20_000, b"", b"first" * times]
    assert (spool._file is None) == (times == 1000)
    assert (parts[2].read(), parts[2].tell()) == (b"", 100_000)


def test_a_part_is_a_file(spool: Spool) -> None:
    """It seeks like one, and never past its own bytes."""
    part = SpooledPart(spool)
    part.write(b"0123456789")
    SpooledPart(spool).write(b"other")

    assert part.seek(-3, os.SEEK_END) == 7
    assert part.read(100) == b"789"
    part.seek(2)
    part.seek(2, os.SEEK_CUR)
    assert part.read(2) == b"45"
    assert part.seek(99) == 10
    assert part.read(1) == b""
    part.seek(0)
    assert io.BufferedReader(part, 4).read() == b"0123456789"
    assert part.readable()
    assert part.writable()
    assert part.seekable()


def test_a_full_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder that is full is an error of the project's own, and temporary."""
    file = spool._file
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(spool, "_file", full)

        with pytest.raises(SpoolFullError, match="No space") as caught:
            SpooledPart(spool).write(b"x")

    monkeypatch.setattr(spool, "_file", file)
    assert caught.value.retryable
