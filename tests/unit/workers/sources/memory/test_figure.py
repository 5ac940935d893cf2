"""How much memory a worker takes at most by its settings, and how much there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.settings import Settings
from workers.sources.memory import figure
from workers.sources.memory.figure import memory_limit, worker_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_settings_give_the_figure() -> None:
    """Each process takes its own, pixels, files and fetched images; a pool of processes has one more beside them."""
    settings = Settings(max_image_pixels=10**6, max_image_bytes=10**5, decode_threads=4, fetch_threads=8, concurrency=3)
    memory = worker_memory(settings)
    assert (memory.decoding, memory.decoded_files, memory.fetched_files) == (12_000_000, 1_200_000, 1_600_000)
    assert memory.of_a_process == memory.own + 14_800_000
    assert memory.total == 3 * memory.of_a_process + memory.own
    threads = worker_memory(settings.model_copy(update={"pool": "threads"}))
    assert threads.total == threads.of_a_process == memory.of_a_process


@pytest.mark.parametrize(
    ("version_2", "version_1", "expected"),
    [
        (None, None, MACHINE),
        ("max\n", None, MACHINE),
        ("1000\n", None, 1000),
        (None, "2000\n", 2000),
        ("9223372036854771712", "9223372036854771712", MACHINE),
    ],
)
def test_a_container_may_have_less_than_the_machine(
    version_2: str | None, version_1: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either version of cgroups; without a limit, the machine's memory counts."""
    paths = (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes")
    for path, text in zip(paths, (version_2, version_1), strict=True):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(figure, "_CGROUP_LIMITS", paths)
    assert memory_limit() == expected


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of pages, no cgroup."""
    monkeypatch.setattr(os, "sysconf_names", {})
    monkeypatch.setattr(figure, "_CGROUP_LIMITS", ())
    assert memory_limit() is None
