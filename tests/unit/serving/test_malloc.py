"""Options of glibc's malloc: set where there is glibc, and nothing done elsewhere."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from serving.malloc import MMAP_THRESHOLD, TRIM_THRESHOLD, set_malloc_options, trim_heap


def test_every_option_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its value; one that glibc refuses is told."""
    calls: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        calls.append((option, value))
        return int(value != 7)

    libc = SimpleNamespace(mallopt=mallopt, gnu_get_libc_version=None)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: libc)
    assert set_malloc_options({TRIM_THRESHOLD: 5, MMAP_THRESHOLD: 6})
    assert not set_malloc_options({TRIM_THRESHOLD: 7, MMAP_THRESHOLD: 8})
    assert calls == [(-1, 5), (-3, 6), (-1, 7), (-3, 8)]


@pytest.mark.parametrize("libc", [SimpleNamespace(), SimpleNamespace(mallopt=pytest.fail)], ids=["macOS", "musl"])
def test_another_libc_is_left_alone(libc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without mallopt, and one whose mallopt does nothing."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: libc)
    assert not set_malloc_options({TRIM_THRESHOLD: 5})


def test_no_libc_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, None names no library."""

    def no_library(_name: None) -> None:
        raise TypeError

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert not set_malloc_options({TRIM_THRESHOLD: 5})
    assert not trim_heap()


def test_the_heap_is_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is glibc, whose malloc_trim gets the bytes to keep."""
    kept: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(malloc_trim=kept.append))
    assert trim_heap()
    assert kept == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    assert not trim_heap()
