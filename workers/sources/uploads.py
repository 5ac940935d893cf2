"""Uploaded bytes on their way into the blob store, under an upload id that belongs to a job only once there is one."""

from __future__ import annotations

from collections.abc import Callable

from workers.errors import ImageError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource
from workers.sources.origins.origin import Part
from workers.sources.references import failed_ref


class Upload:
    """Stores the contents of a submission; `bytes` counts what was stored."""

    def __init__(self, blobs: BlobStore, upload: str, alive: Callable[[], None]) -> None:
        self.bytes = 0
        self._count = 0
        self._blobs = blobs
        self._id = upload
        self._alive = alive

    def add(self, part: Part) -> ImageSource:
        """Bring a part to where the worker finds it; says that the request is alive. Raises StoreUnavailableError.

        A part whose bytes cannot be read is an image that failed.
        """
        self._alive()
        if part.content is None:
            return ImageSource(part.name, part.ref, part.custom_id, part.size, part.mtime)
        path = f"uploads/{self._id}/{self._count}"
        self._count += 1
        try:
            self.bytes += self._blobs.write(path, part.content)
        except ImageError as error:
            return ImageSource(part.name, failed_ref(error), part.custom_id)
        return ImageSource(part.name, f"blob:{path}", part.custom_id)
