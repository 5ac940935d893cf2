"""The pictures of a job's output: its images with the boxes drawn on them, several at once."""

from __future__ import annotations

import io
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import structlog

from workers.errors import ImageError, ManifestLostError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource, Job
from workers.results.drawing import draw, drawable, drawing_share, save_jpeg
from workers.settings import Settings
from workers.sources.original_images import stored_ref
from workers.sources.references import fetch
from workers.store.manifests import read_window

log = structlog.get_logger(__name__)

_WINDOW = 100  # images of a manifest that are read at once
_MAX_NAME_CHARS = 80
_MAX_NAME_BYTES = 200  # of a picture's name in UTF-8; file systems allow 255 with number and suffix

Put = Callable[[str, BinaryIO], None]  # writes a file of the output


def write_pictures(
    job: Job, max_pictures: int, lines: Iterable[str], put: Put, *, blobs: BlobStore, settings: Settings
) -> None:
    """Draw the first `max_pictures` succeeded images of a job, and write each with `put`.

    `lines` are all results of the job, as JSON. Images whose bytes were deleted since are left out. A picture has
    at most 12 million pixels.
    """

    def drawn(image: tuple[ImageSource, dict[str, Any]]) -> io.BytesIO | None:
        source, result = image
        with structlog.contextvars.bound_contextvars(job=job.id, index=result["index"], image=source.name):
            return drawn_picture(source, result)

    def drawn_picture(source: ImageSource, result: dict[str, Any]) -> io.BytesIO | None:
        max_pixels, out = settings.max_image_pixels, io.BytesIO()
        try:
            content = fetch(stored_ref(source, job.id, result["index"]), blobs, settings)
            with drawing_share(max_pixels, result) as share:
                save_jpeg(draw(drawable(content, max_pixels, result, share), result), out)
        except ImageError as error:
            log.warning("image not drawn", error=str(error))
            return None
        out.seek(0)
        return out

    threads = settings.decode_threads
    images = zip(_sources(job, blobs), map(json.loads, lines), strict=False)
    succeeded = (image for image in images if image[1]["state"] == "succeeded")
    wanted = itertools.islice(succeeded, max_pictures)
    with ThreadPoolExecutor(threads, "draw") as pool:
        while chunk := list(itertools.islice(wanted, 2 * threads)):
            for (_, result), picture in zip(chunk, pool.map(drawn, chunk), strict=True):
                if picture:
                    put(f"annotated/{result['index']:06}-{_file_name(result['name'])}.jpg", picture)


def _sources(job: Job, blobs: BlobStore) -> Iterator[ImageSource]:
    offset = 0
    while True:
        try:
            sources, offset = read_window(blobs, job.manifest, offset, _WINDOW)
        except ManifestLostError as error:
            log.warning("images not drawn", job=job.id, error=str(error))
            return
        if not sources:
            return
        yield from sources


def _file_name(name: str) -> str:
    """Return a name for the picture of an image: without folders and suffix, of letters, digits, `.`, `_` and `-`.

    Letters of every script stay, and `_` stands for characters that a file system or store may not accept.
    """
    stem = unicodedata.normalize("NFC", name.rpartition("/")[2].rpartition(".")[0] or name)
    kept = "".join(char if char in ".-" or unicodedata.category(char)[0] in "LMN" else "_" for char in stem)
    cut = re.sub("_+", "_", kept)[:_MAX_NAME_CHARS].encode()[:_MAX_NAME_BYTES]
    return cut.decode(errors="ignore") or "image"
