"""Set options of glibc's malloc for this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Final

TRIM_THRESHOLD: Final = -1  # bytes free at the end of a heap from which on they are returned to the kernel
TOP_PAD: Final = -2  # bytes that are asked of the kernel beyond what is needed
MMAP_THRESHOLD: Final = -3  # bytes from which on a block is mapped by itself, and returned when it is freed
ARENA_MAX: Final = -8  # number of heaps that threads share


def set_malloc_options(options: Mapping[int, int]) -> bool:
    """Set options of malloc. Return True if that succeeded, False on a libc other than glibc.

    Blocks that are in use do not change.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
        libc.gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing, but not this
    except (OSError, AttributeError, TypeError):
        return False
    results = [mallopt(option, value) == 1 for option, value in options.items()]
    return all(results)


def trim_heap() -> bool:
    """Return the free pages of malloc to the kernel. Return False on a libc other than glibc."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    trim(0)
    return True
