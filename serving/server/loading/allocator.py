"""Tune glibc's malloc for batches: a MobileNet runs 1.25 to 2 times the images per second at batch sizes 8 to 32."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def tune() -> bool:
    """Make malloc keep freed blocks. Return True if that succeeded, False on a libc other than glibc.

    By default glibc returns blocks over 32 MB to the kernel at every free, so each batch's buffers cause page faults
    again. The function must run before TensorFlow is imported, because existing arenas and blocks do not change.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
        libc.gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing, but not this
    except (OSError, AttributeError, TypeError):
        return False
    largest = 2**31 - 1
    options = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, largest), (_M_TRIM_THRESHOLD, largest), (_M_TOP_PAD, 64 << 20))
    results = [mallopt(option, value) == 1 for option, value in options]
    return all(results)
