"""Send run parts to a server, each as one job: by path if the server reads the same disk, else as an upload."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
from workers.io.names import control_in, without_controls
from workers.jobs.document import JobDocument
from workers.sources.origins.origin import MAX_NAME_CHARS

REFERENCED_IMAGES = 25_000  # per job; well below the limit of a manifest
UPLOADED_IMAGES = 500  # per job
UPLOADED_BYTES = 128 << 20  # per job; a larger upload would lose more when it breaks

_NOT_SHARED = {  # codes of a server that cannot read this disk or these folders, or does not accept manifests
    "folder_not_allowed",
    "folder_not_found",
    "source_not_allowed",
    "manifest_invalid",
    "too_many_images",
    "unknown_field",
}
_TOO_LARGE = {"too_many_images", "request_too_large"}
_ANOTHER_BODY = "idempotency_mismatch"
_COMPARED = 3  # photos that are compared with the server's

_real_path = lru_cache(maxsize=4096)(os.path.realpath)  # of folders, which many photos share


class Sharing(Enum):
    """Whether the server reads the same disk as this command."""

    YES = "it runs on this machine"
    ASK = "unknown: compare some photos"
    NO = "it does not, or must not"


@dataclass(frozen=True)
class Sent:
    """The outcome of sending a part: its job, or None if the part must be planned anew."""

    part: Part
    job: JobDocument | None = None
    by_reference: bool = False
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass
class Sender:
    """Sends run parts to a server. `say` is called with the reason when sending has to wait."""

    client: ShelflineClient
    journal: Journal
    options: Options
    sharing: Sharing
    say: Callable[[str], None] = lambda _text: None

    def __post_init__(self) -> None:
        self._max_images, self._max_bytes = UPLOADED_IMAGES, UPLOADED_BYTES

    def ends(self, start: int, end: int) -> Iterator[int]:
        """Yield the end index (exclusive) of each part in which the photos `start` to `end` are to be sent."""
        photos, images, size = self.journal.photos, 0, 0
        by_reference = self.sharing is not Sharing.NO
        for index in range(start, end):
            full = images >= (REFERENCED_IMAGES if by_reference else self._max_images)
            if images and (full or (not by_reference and size + photos[index].size > self._max_bytes)):
                yield index
                images, size = 0, 0
            images, size = images + 1, size + photos[index].size
        yield end

    def send(self, part: Part) -> Sent:
        """Submit a part, and wait as long as the server answers that it is full.

        Raises ApiError, ConnectionFailedError, OutputError, and whatever the client's `alive` raises.
        """
        options = self.options
        if part.size < len(self.journal.photos):
            run = {"run": self.journal.run, "images": f"{part.start}-{part.end - 1}"}
            options = {**options, "metadata": {**(options.get("metadata") or {}), **run}}
            options.setdefault("priority", "bulk")
        if self.sharing is not Sharing.NO:
            job = self._referenced(part, options)
            if job:
                return Sent(part, job, by_reference=True)
            self.sharing = Sharing.NO
            if len(list(self.ends(part.start, part.end))) > 1:
                return Sent(part)
        return self._uploaded(part, options)

    def _referenced(self, part: Part, options: Options) -> JobDocument | None:
        """Submit the paths of a part's photos and return the job.

        Returns None if the server cannot read these paths, or reads other files there.
        """
        photos = self.journal.photos[part.start : part.end]
        if any(control_in(photo.path) or control_in(photo.name) for photo in photos):  # a manifest is text
            return None
        try:
            with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
                manifest = Path(folder) / "photos.jsonl"
                with manifest.open("w", encoding="utf-8") as file:
                    for photo in photos:
                        directory, name = os.path.split(photo.path)
                        path = os.path.join(_real_path(directory), name)  # noqa: PTH118  no object for each file
                        file.write(json.dumps({"path": path, "name": photo.name}) + "\n")
                job = self._patiently(
                    lambda: self.client.submit_manifest(manifest, idempotency_key=f"{part.key}-r", **options)
                )
        except ApiError as error:
            if error.code not in _NOT_SHARED:
                raise
            return None
        if self.sharing is Sharing.ASK:
            if not self._sees_the_same(job, photos):
                with suppress(ShelflineError):  # its results are not used, so a failed cancel does not matter
                    self.client.cancel(job.id)
                return None
            self.sharing = Sharing.YES
        return job

    def _sees_the_same(self, job: JobDocument, photos: list[Photo]) -> bool:
        """Compare up to three photos of a job, as the server reads them, with the local files.

        Returns True if all that could be compared have the same bytes, False if none could be compared.
        """
        compared = 0
        for index in sorted({number * (len(photos) - 1) // (_COMPARED - 1) for number in range(_COMPARED)}):
            try:
                with open_photo(photos[index].path) as file:
                    local = file.read()
            except OSError:
                continue  # a file that is unreadable here cannot be compared
            try:
                remote = self.client.image(job.id, index)
            except ApiError as error:
                if error.retryable:
                    raise
                return False
            if local != remote:
                return False
            compared += 1
        return compared > 0

    def _uploaded(self, part: Part, options: Options) -> Sent:
        photos = self.journal.photos[part.start : part.end]
        unreadable: dict[int, str] = {}

        def note(number: int, error: OSError) -> None:
            unreadable[part.start + number] = error.strerror or str(error)

        # These names are accepted by every server; the results get the photos' own names.
        files = [(without_controls(photo.name)[-MAX_NAME_CHARS:], photo.path) for photo in photos]
        try:
            job = self._patiently(
                lambda: self.client.submit_files(files, idempotency_key=f"{part.key}-u", unreadable=note, **options)
            )
        except ApiError as error:
            if error.code in _TOO_LARGE and part.size > 1:
                self._max_images = max(1, min(self._max_images, part.size) // 2)
                self._max_bytes //= 2
            elif error.code != _ANOTHER_BODY:  # _ANOTHER_BODY: photos changed after an upload without response
                raise
            return Sent(part)
        return Sent(part, job, unreadable=unreadable)

    def _patiently(self, submit: Callable[[], JobDocument]) -> JobDocument:
        """Repeat a submission until the server has room for it (429, 503), and return the job."""
        while True:
            try:
                return submit()
            except ApiError as error:
                if not error.retryable or error.status not in {429, 503}:
                    raise
                self.say(str(error))
                time.sleep(max(1.0, error.retry_after))
