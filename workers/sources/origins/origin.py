"""Origins: each form of a submission gives the images of a new job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from workers.jobs.job import ImageSource

MAX_NAME_CHARS = 1024  # of an uploaded image; longer names are refused, or cut off


@dataclass(frozen=True)
class Part:
    """One image on its way into a job: its name, the caller's id if given, and either bytes or a reference.

    `content` is read before the next part is asked for. Reading it may raise ImageError, which fails this image alone.
    """

    name: str
    content: BinaryIO | None = None
    ref: str = ""
    custom_id: str = ""
    size: int | None = None  # bytes, when it was listed
    mtime: float | None = None  # seconds since the epoch, when it was listed

    @property
    def source(self) -> ImageSource:
        """The manifest entry of an image that comes by reference."""
        return ImageSource(self.name, self.ref, self.custom_id, self.size, self.mtime)


class Origin(Protocol):
    """The images of a submission."""

    @property
    def empty(self) -> str:
        """Return the error message for a submission without images."""

    def identity(self) -> Iterator[str]:
        """Yield what makes two submissions the same, without storing anything. May be called before `parts`."""

    def parts(self) -> Iterator[Part]:
        """Yield the images, in the order of their results. Called once."""


def sha256(content: BinaryIO) -> str:
    """Return the SHA-256 of a file as hex, and set the file back to its beginning."""
    content.seek(0)
    digest = hashlib.sha256()
    while piece := content.read(1 << 20):
        digest.update(piece)
    content.seek(0)
    return digest.hexdigest()
