"""Accepting work: images stored, manifest written, job created, bell rung. Only then is a job accepted."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from workers.bell import Bell
from workers.blobs import BlobStore
from workers.catalog import Catalog
from workers.errors import ImageError, JobStateError, NoImagesError, TooManyImagesError, UnknownModelError
from workers.jobs import ImageSource, Job, JobOptions, NewJob, new_id
from workers.queue import window
from workers.redis_link import RedisLink, translated
from workers.reservations import Reservation, Reservations
from workers.settings import Settings
from workers.sources import allowed_folder, file_ref, manifest_line, manifest_path, printable, read_window, walk_images
from workers.store import JobStore

_MANIFEST_IN_MEMORY = 1 << 20


@dataclass(frozen=True)
class Terms:
    """On whose account a job is made, and how: None takes the setting's deadline."""

    owner: str = ""
    deadline_seconds: float | None = None
    idempotency_key: str = ""


PLAIN = Terms()


class Intake:
    """Makes jobs of folders, uploads and failed images. Every method raises StoreUnavailableError, QueueFullError.

    With an idempotency key also IdempotencyInFlightError and IdempotencyMismatchError; where the key was used for the
    same request before, the answer is that request's job, and nothing is stored.
    """

    def __init__(self, link: RedisLink, store: JobStore, blobs: BlobStore, bell: Bell, settings: Settings) -> None:
        self._link = link
        self._store = store
        self._blobs = blobs
        self._bell = bell
        self._settings = settings
        self._reservations = Reservations(link)
        self._catalog = Catalog(link)

    def submit_folder(self, folder: str, options: JobOptions, terms: Terms = PLAIN) -> Job:
        """A job of the image files below a folder of the server.

        Raises FolderNotAllowedError, FolderNotFoundError, NoImagesError, TooManyImagesError, UnknownModelError.
        """
        self._check_model(options)
        root = allowed_folder(folder, self._settings.folder_roots)
        with self._reserved(terms) as reservation:
            if reservation:
                reservation.check(_fingerprint(options, terms, [folder]))
                if reservation.job:
                    return self._store.get(reservation.job)
            self._store.check_room(options.target, terms.owner)
            found = (ImageSource(printable(str(path.relative_to(root))), file_ref(path)) for path in walk_images(root))
            job = self._new(options, terms)
            total = self._write_manifest(job.id, found, empty="The folder has no image files (jpg, png, webp, ...).")
            return self._create(replace(job, total=total), reservation)

    def submit_files(self, files: Iterable[tuple[str, BinaryIO]], options: JobOptions, terms: Terms = PLAIN) -> Job:
        """A job of uploaded files, (name, content) each.

        Raises NoImagesError, TooManyImagesError, UnknownModelError.
        """
        self._check_model(options)
        with self._reserved(terms) as reservation:
            if reservation and reservation.job:
                reservation.check(
                    _fingerprint(options, terms, (part for name, file in files for part in (name, _sha256(file))))
                )
                return self._store.get(reservation.job)
            self._store.check_room(options.target, terms.owner)
            upload = self._new_upload()
            job = self._new(options, terms, upload=upload.id)
            stored = (upload.add(name, content, reservation) for name, content in files)
            total = self._write_manifest(job.id, stored, empty="No image came with the request: send at least one.")
            if reservation:
                reservation.check(_fingerprint(options, terms, upload.parts))
            return self._create(replace(job, total=total, bytes=upload.bytes), reservation)

    def retry(self, job_id: str) -> Job:
        """A new job of the images of a job that failed; asked again, the same one.

        Raises JobNotFoundError; JobStateError where the job is not over, or no image failed.
        """
        old = self._store.get(job_id)
        if old.retried_as:
            return self._store.get(old.retried_as)
        if not old.state.terminal:
            raise JobStateError(f"The job is {old.state.value}: its failed images can be tried again when it is over.")
        if not old.failed:
            raise JobStateError(f"No image of the job failed (it is {old.state.value}): there is nothing to try again.")
        upload = self._new_upload()
        job = self._new(old.options, Terms(old.owner), upload=upload.id, retry_of=old.id)
        failed = (self._copied(source, upload) for source in self._failed_images(old))
        total = self._write_manifest(job.id, failed, empty="No image of the job failed.")
        return self._create(replace(job, total=total, bytes=upload.bytes), None)

    def _failed_images(self, job: Job) -> Iterator[ImageSource]:
        offset = 0
        lines = self._store.results(job.id)
        while results := list(itertools.islice(lines, 1000)):
            sources, offset = read_window(self._blobs, job.id, offset, len(results))
            for source, result in zip(sources, results, strict=True):
                if json.loads(result)["state"] == "failed":
                    yield source

    def _copied(self, source: ImageSource, upload: _Upload) -> ImageSource:
        """An image of another job, its bytes copied: the jobs are deleted independently."""
        kind, _, where = source.ref.partition(":")
        if kind != "blob":
            return source
        try:
            content = self._blobs.read(where, self._settings.max_image_bytes)
        except ImageError:  # it failed because of that, and will again, with the same words
            return source
        return upload.add(source.name, io.BytesIO(content))

    @contextmanager
    def _reserved(self, terms: Terms) -> Iterator[Reservation | None]:
        if not terms.idempotency_key:
            yield None
            return
        reservation = self._reservations.reserve(terms.owner, terms.idempotency_key)
        try:
            yield reservation
        except BaseException:
            self._reservations.release(reservation)
            raise

    def _new(self, options: JobOptions, terms: Terms, *, upload: str = "", retry_of: str = "") -> NewJob:
        job_id = new_id("job")
        self._due_later(f"purge:jobs/{job_id}")  # the script that creates the job takes it off
        deadline = terms.deadline_seconds or self._settings.deadline_seconds
        return NewJob(job_id, options, 0, deadline, upload, owner=terms.owner, retry_of=retry_of)

    def _new_upload(self) -> _Upload:
        upload = new_id("upload")
        self._due_later(f"upload:{upload}")
        return _Upload(upload, self._blobs, self._reservations)

    def _write_manifest(self, job_id: str, sources: Iterable[ImageSource], *, empty: str) -> int:
        total = 0
        with tempfile.SpooledTemporaryFile(_MANIFEST_IN_MEMORY) as manifest:
            for total, source in enumerate(sources, 1):
                if total > self._settings.max_job_images:
                    raise TooManyImagesError(
                        f"The job has more than {self._settings.max_job_images} images: make several jobs of it."
                    )
                manifest.write(manifest_line(source))
            if not total:
                raise NoImagesError(empty)
            manifest.seek(0)
            self._blobs.write(manifest_path(job_id), manifest)  # type: ignore[arg-type]  # a file in all but name
        return total

    def _create(self, job: NewJob, reservation: Reservation | None) -> Job:
        first, offset = read_window(self._blobs, job.id, 0, window(self._settings))
        created = self._store.create(job, first, offset, reservation)
        self._bell.ring(job.options.target)
        return created

    def _due_later(self, duty: str) -> None:
        """Have something deleted if no job was made of it in time."""
        with translated():
            now = int(self._link.client.time()[0])
            self._link.client.zadd("sl:due", {duty: int((now + self._settings.upload_grace_seconds) * 1000)})

    def _check_model(self, options: JobOptions) -> None:
        """A model of the settings is accepted whether or not its server is up: the job waits for it.

        A version is refused only where workers lately found others.
        """
        model, version = options.model, options.model_version
        if model not in self._settings.served_models:
            known = ", ".join(self._settings.served_models)
            raise UnknownModelError(f"There is no model {model!r} here; there is {known}. See SHELFLINE_MORE_MODELS.")
        published = self._catalog.look_up(model) if version is not None else None
        if published is None or not published.available:
            return
        served = [one.version for one in published.versions if one.state == "AVAILABLE"]
        if version not in served:
            known = ", ".join(map(str, served))
            raise UnknownModelError(f"Version {version} of model {model!r} is not served; there is {known}.")


class _Upload:
    """Uploaded files on their way into the blob store, under an upload id."""

    def __init__(self, upload: str, blobs: BlobStore, reservations: Reservations) -> None:
        self.id = upload
        self.bytes = 0
        self.parts: list[str] = []  # name, sha256, name, sha256, ...
        self._count = 0
        self._blobs = blobs
        self._reservations = reservations

    def add(self, name: str, content: BinaryIO, reservation: Reservation | None = None) -> ImageSource:
        """Store a file; says that the request is alive."""
        if reservation:
            self._reservations.renew(reservation)
            self.parts += (name, _sha256(content))
        path = f"uploads/{self.id}/{self._count}"
        self._count += 1
        self.bytes += self._blobs.write(path, content)
        return ImageSource(printable(name), f"blob:{path}")


def _sha256(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.sha256()
    while piece := content.read(1 << 20):
        digest.update(piece)
    content.seek(0)
    return digest.hexdigest()


def _fingerprint(options: JobOptions, terms: Terms, parts: Iterable[str]) -> str:
    """What a request is recognised by: its options, and the name and sha256 of each part; not its raw body."""
    digest = hashlib.sha256(f"{options.to_json()} {terms.deadline_seconds}".encode())
    for part in parts:
        digest.update(b"\0" + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
