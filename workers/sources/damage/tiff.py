"""TIFF: whether a picture that is compressed as JPEG lacks pixels."""

from __future__ import annotations

from typing import Any, Final

from PIL import Image

from workers.sources.damage.jpeg import JPEG_END

_COMPRESSION: Final = 259
_JPEG: Final = 7  # the compression of TIFF Technical Note 2
_PLACES: Final = ((273, 279), (324, 325))  # tags of the offsets and sizes of strips, or of tiles
_END_BYTES: Final = 16  # in which the end marker of a strip stands; a writer may have filled up behind it


def lacks_blocks(image: Image.Image, content: bytes) -> bool:
    """Return whether a strip or tile of a TIFF is a JPEG that is cut off.

    libtiff says nothing then, and libjpeg makes grey what it has no data for. Each strip must have an end marker. It is
    not looked at what is lost without it, as in a JPEG file, since only damage leaves it out.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_COMPRESSION) != _JPEG:
        return False
    offsets, sizes = next(((tags[at], tags[size]) for at, size in _PLACES if at in tags and size in tags), ((), ()))
    return not all(
        content.find(JPEG_END, max(offset, offset + size - _END_BYTES), offset + size) >= 0
        for offset, size in zip(offsets, sizes, strict=False)
    )
