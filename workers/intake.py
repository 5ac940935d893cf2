"""Accepting work: images stored, manifest written, job created, bell rung. Only then is a job accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from workers.bell import Bell
from workers.blobs import BlobStore
from workers.errors import NoImagesError, TooManyImagesError, UnknownModelError
from workers.jobs import ImageSource, Job, JobOptions, NewJob, new_id
from workers.queue import window
from workers.redis_link import RedisLink, translated
from workers.settings import Settings
from workers.sources import allowed_folder, file_ref, manifest_line, manifest_path, printable, read_window, walk_images
from workers.store import JobStore

_MANIFEST_IN_MEMORY = 1 << 20


class Intake:
    """Makes jobs of folders and uploads. Every method raises StoreUnavailableError where a store is down."""

    def __init__(self, link: RedisLink, store: JobStore, blobs: BlobStore, bell: Bell, settings: Settings) -> None:
        self._link = link
        self._store = store
        self._blobs = blobs
        self._bell = bell
        self._settings = settings

    def submit_folder(self, folder: str, options: JobOptions) -> Job:
        """A job of the image files below a folder of the server.

        Raises FolderNotAllowedError, FolderNotFoundError, NoImagesError, TooManyImagesError, UnknownModelError.
        """
        self._check_model(options.model)
        root = allowed_folder(folder, self._settings.folder_roots)
        found = (ImageSource(printable(str(path.relative_to(root))), file_ref(path)) for path in walk_images(root))
        return self._submit(found, options, empty="The folder has no image files (jpg, png, webp, tif, ...).")

    def submit_files(self, files: Iterable[tuple[str, BinaryIO]], options: JobOptions) -> Job:
        """A job of uploaded files, (name, content) each.

        Raises NoImagesError, TooManyImagesError, UnknownModelError.
        """
        self._check_model(options.model)
        upload = new_id("upload")
        self._due_later(f"upload:{upload}")
        stored = self._stored(files, upload)
        return self._submit(stored, options, upload=upload, empty="No image came with the request: send at least one.")

    def _stored(self, files: Iterable[tuple[str, BinaryIO]], upload: str) -> Iterator[ImageSource]:
        for number, (name, content) in enumerate(files):
            path = f"uploads/{upload}/{number}"
            self._blobs.write(path, content)
            yield ImageSource(printable(name), f"blob:{path}")

    def _submit(self, sources: Iterable[ImageSource], options: JobOptions, *, empty: str, upload: str = "") -> Job:
        job_id = new_id("job")
        self._due_later(f"purge:jobs/{job_id}")  # the script that creates the job takes it off
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
        first, offset = read_window(self._blobs, job_id, 0, window(self._settings))
        job = self._store.create(NewJob(job_id, options, total, upload), first, offset)
        self._bell.ring(options.model)
        return job

    def _due_later(self, duty: str) -> None:
        """Have something deleted if no job was made of it in time."""
        with translated():
            now = int(self._link.client.time()[0])
            self._link.client.zadd("sl:due", {duty: int((now + self._settings.upload_grace_seconds) * 1000)})

    def _check_model(self, model: str) -> None:
        """A model of the settings is accepted whether or not its server is up: the job waits for it."""
        if model not in self._settings.served_models:
            known = ", ".join(self._settings.served_models)
            raise UnknownModelError(f"There is no model {model!r} here; there is {known}. See SHELFLINE_MORE_MODELS.")
