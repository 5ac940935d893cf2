"""Where the images of a new job come from: each form of a submission is an origin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Part:
    """One image on its way into a job: its name, the caller's own id if it gave one, and either bytes or a reference.

    `content` is read before the next part is asked for. Reading it may raise ImageError, which fails this image alone.
    """

    name: str
    content: BinaryIO | None = None
    ref: str = ""
    custom_id: str = ""
    size: int | None = None  # as it was listed, in bytes, and its
    mtime: float | None = None  # in seconds since the epoch


class Origin(Protocol):
    """The images of a submission."""

    @property
    def empty(self) -> str:
        """What to say where there are none."""

    def identity(self) -> Iterator[str]:
        """What makes this submission the same as another, without storing anything; may be called before `parts`."""

    def parts(self) -> Iterator[Part]:
        """The images, in the order of their results; called once."""


def sha256(content: BinaryIO) -> str:
    """The hash of a file, which is at its beginning again after that."""
    content.seek(0)
    digest = hashlib.sha256()
    while piece := content.read(1 << 20):
        digest.update(piece)
    content.seek(0)
    return digest.hexdigest()
