"""Draw boxes on the images of a job, several images at once."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import structlog

from workers.errors import ImageError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource, Job
from workers.results.drawing import draw, drawable, save_jpeg
from workers.settings import Settings
from workers.sources.original_images import stored_ref
from workers.sources.references import fetch
from workers.store.manifests import read_window

log = structlog.get_logger(__name__)

_WINDOW = 100
_ODD = re.compile(r"[^\w.-]+", re.ASCII)


class Pictures:
    """Draws images of jobs. A picture takes about 20 bytes of memory per pixel, and has at most 12 million pixels."""

    def __init__(self, blobs: BlobStore, settings: Settings) -> None:
        self._blobs = blobs
        self._settings = settings

    def draw(self, job: Job, most: int, lines: Iterable[str], put: Callable[[str, BinaryIO], None]) -> None:
        """Draw the first `most` succeeded images, and write each with `put`.

        `lines` are all results of the job, as JSON. Images whose bytes were deleted since are left out.
        """
        wanted = itertools.islice(_succeeded(zip(self._sources(job), map(json.loads, lines), strict=False)), most)
        with ThreadPoolExecutor(self._settings.decode_threads, "draw") as threads:
            while some := list(itertools.islice(wanted, 2 * self._settings.decode_threads)):
                drawn = threads.map(lambda one: self._picture(job, *one), some)
                for (_, result), picture in zip(some, drawn, strict=True):
                    if picture:
                        put(f"annotated/{result['index']:06}-{_file_name(result['name'])}.jpg", io.BytesIO(picture))

    def _sources(self, job: Job) -> Iterator[ImageSource]:
        offset = 0
        while True:
            found, offset = read_window(self._blobs, job.manifest, offset, _WINDOW)
            if not found:
                return
            yield from found

    def _picture(self, job: Job, source: ImageSource, result: dict[str, Any]) -> bytes | None:
        try:
            content = fetch(stored_ref(source, job.id, result["index"]), self._blobs, self._settings)
            picture = draw(drawable(content, self._settings.max_image_pixels, result), result)
        except ImageError as error:
            log.warning("image not drawn", job=job.id, index=result["index"], error=str(error))
            return None
        out = io.BytesIO()
        save_jpeg(picture, out)
        return out.getvalue()


def _succeeded(
    found: Iterable[tuple[ImageSource, dict[str, Any]]],
) -> Iterator[tuple[ImageSource, dict[str, Any]]]:
    return (one for one in found if one[1]["state"] == "succeeded")


def _file_name(name: str) -> str:
    """Return a name without folders and its suffix, without characters that a file system or store may not accept."""
    stem = name.rpartition("/")[2].rpartition(".")[0] or name
    return _ODD.sub("_", stem)[:80] or "image"
