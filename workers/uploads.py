"""Uploaded bytes on their way into the blob store, under an upload id that belongs to a job only once there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from workers.blobs import BlobStore
from workers.errors import ImageError, StoreUnavailableError
from workers.jobs import ImageSource, new_id
from workers.origins import Part
from workers.redis_link import RedisLink, translated
from workers.references import failed_ref


class Upload:
    """Stores the contents of a submission, before `job` is a job.

    `id` is '' as long as nothing was stored; `bytes` counts what was. What is stored is given up after `grace_seconds`
    where no job came of it.
    """

    def __init__(
        self, link: RedisLink, blobs: BlobStore, job: str, grace_seconds: float, alive: Callable[[], None]
    ) -> None:
        self.id = ""
        self.bytes = 0
        self._count = 0
        self._link = link
        self._blobs = blobs
        self._grace = grace_seconds
        self._not_noted = [f"jobs/{job}"]
        self._alive = alive

    def add(self, part: Part) -> ImageSource:
        """Bring a part to where the worker finds it; says that the request is alive. Raises StoreUnavailableError.

        A part whose bytes cannot be read is an image that failed.
        """
        self._alive()
        if part.content is None:
            return ImageSource(part.name, part.ref, part.custom_id)
        if not self.id:
            self.id = new_id("upload")
            self._not_noted.append(f"uploads/{self.id}")
            self.note()
        path = f"uploads/{self.id}/{self._count}"
        self._count += 1
        try:
            self.bytes += self._blobs.write(path, part.content)
        except ImageError as error:
            return ImageSource(part.name, failed_ref(error), part.custom_id)
        return ImageSource(part.name, f"blob:{path}", part.custom_id)

    def note(self) -> None:
        """Have what is stored from now on given up in time; nothing happens where that was done."""
        if self._not_noted:
            due_in(self._link, [draft(path) for path in self._not_noted], self._grace)
            self._not_noted = []


def drop_upload(link: RedisLink, upload: str) -> None:
    """Have an upload deleted soon, since no job will come of it."""
    if upload:
        with suppress(StoreUnavailableError):  # then it is deleted in time
            due_in(link, [draft(f"uploads/{upload}")], 0)


def draft(path: str) -> str:
    """The duty that gives up what is stored at a path; the script that makes a job of it takes it off."""
    return f"draft:{path}"


def due_in(link: RedisLink, duties: Iterable[str], seconds: float) -> None:
    """Have duties done in so many seconds; raises StoreUnavailableError."""
    with translated():
        now = int(link.client.time()[0])
        link.client.zadd("sl:due", dict.fromkeys(duties, int((now + seconds) * 1000)))
