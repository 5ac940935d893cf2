"""Origins: each form of a submission gives the images of a new job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from workers.errors import NoImagesError
from workers.io.names import in_words
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


@dataclass
class Notes:
    """What a job says about the listing of its images: complete when all parts were read.

    `skipped` are the numbers of files that are not named like images, by suffix. `name_encoding` is the encoding that
    names were guessed to have.
    """

    skipped: dict[str, int] = field(default_factory=dict)
    name_encoding: str = ""

    @property
    def fields(self) -> list[str]:
        """The fields of the job's Redis hash, as name, value, name, value; none where there is nothing to say."""
        skipped = ["skipped", json.dumps(self.skipped, ensure_ascii=False)] if self.skipped else []
        return skipped + (["name_encoding", self.name_encoding] if self.name_encoding else [])

    def no_images(self, error: NoImagesError) -> NoImagesError:
        """Return the error for a source without images, with the files that it has instead."""
        if not self.skipped:
            return error
        others = in_words(self.skipped)
        return NoImagesError(f"{error} Other files were left out ({others}): convert photos among them to JPEG.")


class Origin(Protocol):
    """The images of a submission."""

    @property
    def notes(self) -> Notes:
        """Return what is to be said about the listing, after all of `parts` was read."""

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
