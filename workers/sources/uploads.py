"""Write uploaded bytes to the blob store, under an upload id that belongs to a job only once the job is created."""

from __future__ import annotations

from workers.errors import ImageError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource
from workers.sources.origins.origin import Part
from workers.sources.references import failed_ref

_SYNC_EVERY = 64  # images: an upload of many is synced as it comes, so that its end is not long in coming


class Upload:
    """Stores the images of a submission. `bytes` is how many bytes were stored so far."""

    def __init__(self, blobs: BlobStore, upload: str) -> None:
        self.bytes = 0
        self._count = 0
        self._blobs = blobs
        self._id = upload
        self._unsynced: list[str] = []

    def add(self, part: Part) -> ImageSource:
        """Store the bytes of a source part, if it has any, and return its manifest entry. Raises StoreUnavailableError.

        A part whose bytes cannot be read becomes an image that fails.
        """
        if part.content is None:
            return part.source
        path = f"uploads/{self._id}/{self._count}"
        self._count += 1
        try:
            self.bytes += self._blobs.write(path, part.content, durable=False)
        except ImageError as error:
            return ImageSource(part.name, failed_ref(error), part.custom_id)
        self._unsynced.append(path)
        if len(self._unsynced) >= _SYNC_EVERY:
            self.sync()
        return ImageSource(part.name, f"blob:{path}", part.custom_id)

    def sync(self, *more: str) -> None:
        """Make what was stored outlast a power failure, with `more` blobs. Raises StoreUnavailableError."""
        self._blobs.sync([*self._unsynced, *more])
        self._unsynced.clear()
