"""Make glibc's malloc return the memory of large images when they are freed."""

from __future__ import annotations

from typing import Final

from serving.malloc import MMAP_THRESHOLD, TRIM_THRESHOLD, set_malloc_options

_MAPPED_BYTES: Final = 4 << 20  # of an image of a megapixel
_KEPT_BYTES: Final = 8 << 20  # of each thread, for the next small photo


def return_large_blocks() -> bool:
    """Make malloc return large blocks when they are freed. Return False on a libc other than glibc, which does so.

    Call this once, when a process starts that decodes images; its children inherit it. By default glibc learns from the
    first images that blocks of 16 MB, in which Pillow keeps pixels, are common. From then on it keeps them.
    """
    return set_malloc_options({MMAP_THRESHOLD: _MAPPED_BYTES, TRIM_THRESHOLD: _KEPT_BYTES})
