"""Check before a load that there is enough memory for a model. Without the check the kernel may kill the process."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NEEDED_OVER_DISK: Final = 1.2  # TF Serving's kResourceEstimateRAMMultiplier
_CGROUP: Final = Path("/sys/fs/cgroup")
_MB: Final = 1_000_000


def shortage(folder: Path) -> str | None:
    """Return why a SavedModel does not fit into memory, or None if it fits.

    The estimate is the size of its files times 1.2, as in TF Serving.
    """
    needed = _NEEDED_OVER_DISK * sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    available = min(_limits(), default=None)
    if available is None or needed <= available:
        return None
    return f"it needs about {needed / _MB:,.0f} MB of memory, and {max(available, 0) / _MB:,.0f} MB are available"


def _limits() -> Iterator[int]:
    """Yield the bytes that the process may still use, for each limit: system memory, cgroup, address space."""
    meminfo = _fields(Path("/proc/meminfo"))
    if "MemAvailable" in meminfo:
        yield meminfo["MemAvailable"] * 1024
    limit = _number(_CGROUP / "memory.max")
    used = _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        yield limit - used + _fields(_CGROUP / "memory.stat").get("inactive_file", 0)
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        pages = _text(Path("/proc/self/statm")).split()
        yield address_space - (int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages else 0)


def _fields(path: Path) -> dict[str, int]:
    """Read a file with a name and a number per line, such as /proc/meminfo."""
    fields = {}
    for line in _text(path).splitlines():
        name, *values = line.replace(":", " ").split()
        if values and values[0].isdigit():
            fields[name] = int(values[0])
    return fields


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
