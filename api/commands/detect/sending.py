"""Photos given to a server: by name where it reads the same disk, else uploaded; each part is one job, once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from api.client.client import Options, ShelflineClient
from api.client.errors import ApiError
from api.client.multipart_body import open_photo
from api.commands.detect.journal import Journal, Part
from api.commands.detect.line_files import writing
from api.commands.detect.photos import Photo
from serving.errors import ShelflineError
from workers.io.folders import printable
from workers.jobs.document import JobDocument

REFERENCED_IMAGES = 25_000  # of one job: well below what a manifest may have
UPLOADED_IMAGES = 500
UPLOADED_BYTES = 128 << 20  # more is lost when an upload dies
MAX_NAME_CHARS = 1024  # of an upload, see api.requests.uploads

_NOT_SHARED = {  # what a server says that does not read this disk, or not these folders, or has no such route
    "folder_not_allowed",
    "folder_not_found",
    "source_not_allowed",
    "manifest_invalid",
    "too_many_images",
    "unknown_field",
}
_TOO_LARGE = {"too_many_images", "request_too_large"}
_ANOTHER_BODY = "idempotency_mismatch"
_COMPARED = 3  # photos


class Sharing(Enum):
    """Whether a server reads the disk of this command."""

    YES = "it runs on this machine"
    ASK = "it may"
    NO = "it does not, or must not"


@dataclass(frozen=True)
class Sent:
    """What became of a part: a job, or None where it has to be planned anew."""

    part: Part
    job: JobDocument | None
    by_reference: bool
    unreadable: dict[int, str]


class Sender:
    """Gives parts of a run to a server. `say` is told what is being waited for."""

    def __init__(
        self,
        client: ShelflineClient,
        journal: Journal,
        options: Options,
        sharing: Sharing,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.sharing = sharing
        self._client = client
        self._journal = journal
        self._options = options
        self._say = say
        self._most_images, self._most_bytes = UPLOADED_IMAGES, UPLOADED_BYTES

    def ends(self, start: int, end: int) -> Iterator[int]:
        """Where the parts end that photos are to be sent in."""
        photos, images, size = self._journal.photos, 0, 0
        by_reference = self.sharing is not Sharing.NO
        for index in range(start, end):
            full = images >= (REFERENCED_IMAGES if by_reference else self._most_images)
            if images and (full or (not by_reference and size + photos[index].size > self._most_bytes)):
                yield index
                images, size = 0, 0
            images, size = images + 1, size + photos[index].size
        yield end

    def send(self, part: Part) -> Sent:
        """Submit a part, waiting as long as the server says that there is no room; raises ApiError and others."""
        options = self._options
        if part.size < len(self._journal.photos):
            run = {"run": self._journal.run, "images": f"{part.start}-{part.end - 1}"}
            options = {**options, "metadata": {**(options.get("metadata") or {}), **run}}
            options.setdefault("priority", "bulk")
        if self.sharing is not Sharing.NO:
            job = self._referenced(part, options)
            if job:
                return Sent(part, job, by_reference=True, unreadable={})
            self.sharing = Sharing.NO
            if len(list(self.ends(part.start, part.end))) > 1:
                return Sent(part, None, by_reference=False, unreadable={})
        return self._uploaded(part, options)

    def _referenced(self, part: Part, options: Options) -> JobDocument | None:
        """The job of a part whose photos the server reads itself, None where it cannot, or sees other files there."""
        photos = self._journal.photos[part.start : part.end]
        if not all(one.path.isprintable() and one.name.isprintable() for one in photos):  # a manifest is text
            return None
        try:
            with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
                manifest = Path(folder) / "photos.jsonl"
                with manifest.open("w", encoding="utf-8") as file:
                    file.writelines(
                        json.dumps({"path": _without_links(one.path), "name": one.name}) + "\n" for one in photos
                    )
                job = self._patiently(
                    lambda: self._client.submit_manifest(manifest, idempotency_key=f"{part.key}-r", **options)
                )
        except ApiError as error:
            if error.code not in _NOT_SHARED:
                raise
            return None
        if self.sharing is Sharing.ASK:
            if not self._sees_the_same(job, photos):
                self._abandon(job)
                return None
            self.sharing = Sharing.YES
        return job

    def _sees_the_same(self, job: JobDocument, photos: list[Photo]) -> bool:
        """Whether some of the photos that the server reads, as it shows them, have the bytes that are here."""
        compared = 0
        for index in sorted({number * (len(photos) - 1) // (_COMPARED - 1) for number in range(_COMPARED)}):
            try:
                with open_photo(photos[index].path) as file:
                    here = file.read()
            except OSError:
                continue  # unreadable here: says nothing of there
            try:
                there = self._client.image(job.id, index)
            except ApiError as error:
                if error.retryable:
                    raise
                return False
            if hashlib.sha256(here).digest() != hashlib.sha256(there).digest():
                return False
            compared += 1
        return compared > 0

    def _abandon(self, job: JobDocument) -> None:
        with suppress(ShelflineError):  # its results are not taken, whatever becomes of it
            self._client.cancel(job.id)

    def _uploaded(self, part: Part, options: Options) -> Sent:
        photos = self._journal.photos[part.start : part.end]
        unreadable: dict[int, str] = {}

        def note(number: int, error: OSError) -> None:
            unreadable[part.start + number] = error.strerror or str(error)

        files = [(_sendable(one.name), one.path) for one in photos]
        try:
            job = self._patiently(
                lambda: self._client.submit_files(files, idempotency_key=f"{part.key}-u", unreadable=note, **options)
            )
        except ApiError as error:
            if error.code in _TOO_LARGE and part.size > 1:
                self._most_images = max(1, min(self._most_images, part.size) // 2)
                self._most_bytes //= 2
            elif error.code != _ANOTHER_BODY:  # photos that changed since an upload whose answer was lost
                raise
            return Sent(part, None, by_reference=False, unreadable={})
        return Sent(part, job, by_reference=False, unreadable=unreadable)

    def _patiently(self, submit: Callable[[], JobDocument]) -> JobDocument:
        """What a submission answers, once the server has room for it."""
        while True:
            try:
                return submit()
            except ApiError as error:
                if not error.retryable or error.status not in {429, 503}:
                    raise
                self._say(str(error))
                time.sleep(max(1.0, error.retry_after))


def _sendable(name: str) -> str:
    """A name that every server takes; what the results say is the photo's own."""
    text = "".join(one if one.isprintable() else "\ufffd" for one in printable(name))
    return text[-MAX_NAME_CHARS:]


def _without_links(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_real(folder), name)  # noqa: PTH118  100,000 of them


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
