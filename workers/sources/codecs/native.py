"""Find the libraries that Pillow decodes with, to call them directly where that saves memory."""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path

import PIL


def library_of_pillow(name: str) -> ctypes.CDLL | None:
    """Return a library that Pillow has loaded: the one in its wheel, else the system's. None if there is none."""
    package = Path(PIL.__file__).parent
    carried = [*package.parent.glob(f"pillow.libs/lib{name}-*"), *package.glob(f".dylibs/lib{name}.*")]
    path = str(carried[0]) if carried else ctypes.util.find_library(name)
    try:
        return ctypes.CDLL(path) if path else None
    except OSError:
        return None
