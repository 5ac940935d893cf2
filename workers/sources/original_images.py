"""The original images of a job: their bytes, and their media types."""

from __future__ import annotations

import re

from workers.errors import ImageChangedError, ImageMissingError, ItemNotFoundError, ManifestLostError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource
from workers.settings import Settings
from workers.sources.references import fetch, fetched_path, is_remote
from workers.store.job_store import JobStore
from workers.store.manifests import read_window

_WINDOW = 1000  # lines of a manifest to read at once

_STORED = ("blob", "file", "fs")
_KINDS = {
    f"image/{kind}": re.compile(begins, re.DOTALL)
    for kind, begins in (
        ("jpeg", rb"\xff\xd8\xff"),
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("webp", rb"RIFF....WEBP"),
        ("gif", rb"GIF8[79]a"),
        ("bmp", rb"BM"),
        ("avif", rb"....ftypavi[fs]"),
    )
}
PICTURE_TYPES = tuple(_KINDS)


class OriginalImages:
    """Reads original images of jobs. Every method raises StoreUnavailableError if Redis or the blob store is down."""

    def __init__(self, store: JobStore, blobs: BlobStore, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings

    def source(self, job_id: str, index: int) -> ImageSource:
        """Return the manifest entry of an image. Raises JobNotFoundError, JobGoneError, ItemNotFoundError."""
        job = self._store.get(job_id)
        if not job.total:
            raise ItemNotFoundError("The job's images are not listed yet: ask again later.")
        if not 0 <= index < job.total:
            raise ItemNotFoundError(f"The job has the images 0 to {job.total - 1}: there is no image {index}.")
        offset = first = 0
        while True:
            try:
                sources, offset = read_window(self._blobs, job.manifest, offset, min(_WINDOW, index + 1 - first))
            except ManifestLostError as error:
                raise ItemNotFoundError(str(error)) from error
            if index - first < len(sources):
                return sources[index - first]
            if not sources:
                raise ItemNotFoundError("The job's list of images is no longer in the blob store.")
            first += len(sources)

    def read(self, job_id: str, index: int) -> bytes:
        """Return the bytes of an image as it was sent.

        Raises JobNotFoundError, JobGoneError, ImageTooLargeError; ItemNotFoundError also if the bytes are not stored
        here or are gone.
        """
        source = self.source(job_id, index)
        ref = stored_ref(source, job_id, index)
        if ref.partition(":")[0] not in _STORED:
            raise ItemNotFoundError("The image was refused when it was submitted: its bytes are not stored here.")
        try:
            return fetch(ref, self._blobs, self._settings)
        except (ImageChangedError, ImageMissingError) as error:
            raise ItemNotFoundError(str(error)) from error


def stored_ref(source: ImageSource, job_id: str, index: int) -> str:
    """Return the reference of an image's stored bytes; for an image that came by URL, that of the fetched bytes."""
    return f"blob:{fetched_path(job_id, index)}" if is_remote(source.ref) else source.ref


def image_type(content: bytes) -> str | None:
    """Return the media type of a picture that browsers show, by its first bytes; None for other content.

    SVG and HTML are never in the list: content of callers must not be served as a type that a browser executes or
    guesses.
    """
    return next((kind for kind, begins in _KINDS.items() if begins.match(content)), None)
