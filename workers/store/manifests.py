"""Manifests: the list of a job's images, in the order of the results. A manifest is written once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from workers.errors import (
    DuplicateIdError,
    ImageMissingError,
    ManifestLostError,
    NoImagesError,
    TooManyImagesError,
)
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource

_IN_MEMORY = 1 << 20  # bytes of a manifest; a larger one is written to a temporary file first


def manifest_line(source: ImageSource) -> bytes:
    """Return the line of an image in a manifest."""
    listed = () if source.size is None else (source.size, source.mtime)
    return json.dumps((*source.fields, *listed), ensure_ascii=False).encode() + b"\n"


def read_window(blobs: BlobStore, manifest: str, offset: int, count: int) -> tuple[list[ImageSource], int]:
    """Return up to `count` images of a manifest from a byte offset on, and the offset after them.

    Raises ManifestLostError if it is missing or damaged, StoreUnavailableError if the blob store is down.
    """
    try:
        lines, end = blobs.read_lines(manifest, offset, count)
        return [ImageSource(*json.loads(line)) for line in lines], end
    except ImageMissingError as error:
        raise ManifestLostError(f"The list of the job's images, {manifest}, is no longer in the blob store.") from error
    except (ValueError, TypeError) as error:
        raise ManifestLostError(f"The list of the job's images, {manifest}, is damaged in the blob store.") from error


def read_all(blobs: BlobStore, manifest: str, offset: int, count: int) -> tuple[list[ImageSource], int]:
    """Return `count` images of a manifest as `read_window` does. Raises ManifestLostError also if it has fewer."""
    sources, end = read_window(blobs, manifest, offset, count)
    if len(sources) < count:
        raise ManifestLostError(f"The list of the job's images, {manifest}, ends too early in the blob store.")
    return sources, end


@dataclass
class Written:
    """A written manifest: the number of images, the first window of them, and the byte offset where it ends."""

    total: int = 0
    first: list[ImageSource] = field(default_factory=list)
    offset: int = 0


def write_manifest(
    blobs: BlobStore,
    path: str,
    sources: Iterable[ImageSource],
    *,
    window: int,
    max_images: int,
    empty: str,
    durable: bool = True,
) -> Written:
    """Write a manifest to `path` in the blob store. `window` is the number of images in the first window.

    If it is not written `durable`, call `blobs.sync` before a job relies on it.

    Raises NoImagesError with the text `empty` if there are no images, TooManyImagesError if there are more than
    `max_images`, DuplicateIdError if two images have the same custom id, StoreUnavailableError if the blob store is
    down.
    """
    written = Written()
    seen: set[str] = set()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as manifest:
        for source in sources:
            written.total += 1
            if written.total > max_images:
                raise TooManyImagesError(f"The job has more than {max_images} images: make several jobs of it.")
            if source.custom_id in seen:
                raise DuplicateIdError(
                    f"Two images of the job have the custom_id {source.custom_id!r}: give each its own."
                )
            if source.custom_id:
                seen.add(source.custom_id)
            line = manifest_line(source)
            manifest.write(line)
            if written.total <= window:
                written.first.append(source)
                written.offset += len(line)
        if not written.total:
            raise NoImagesError(empty)
        manifest.seek(0)
        blobs.write(path, manifest, durable=durable)  # type: ignore[arg-type]  # SpooledTemporaryFile has a file's methods without its type
    return written
