"""Manifests of jobs: which images they have, written once, in the order of their results."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from workers.errors import DuplicateIdError, NoImagesError, TooManyImagesError
from workers.io.blobs import BlobStore
from workers.jobs.job import ImageSource


def manifest_line(source: ImageSource) -> bytes:
    """One line of a manifest."""
    listed = () if source.size is None else (source.size, source.mtime)
    return json.dumps((*source.fields, *listed), ensure_ascii=False).encode() + b"\n"


def read_window(blobs: BlobStore, manifest: str, offset: int, count: int) -> tuple[list[ImageSource], int]:
    """The next `count` images of a job's manifest from a byte offset, and the offset behind them."""
    lines, behind = blobs.read_lines(manifest, offset, count)
    return [ImageSource(*json.loads(line)) for line in lines], behind


_IN_MEMORY = 1 << 20


@dataclass
class Written:
    """What a manifest has: its images, the first window of them, and the offset in bytes behind that."""

    total: int = 0
    first: list[ImageSource] = field(default_factory=list)
    offset: int = 0


def write_manifest(
    blobs: BlobStore, path: str, sources: Iterable[ImageSource], *, window: int, most: int, empty: str
) -> Written:
    """Write a manifest of at most so many images; `window` is how many are the first ones.

    Raises NoImagesError, with `empty` as its words, TooManyImagesError, DuplicateIdError, StoreUnavailableError.
    """
    written = Written()
    seen: set[str] = set()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as manifest:
        for source in sources:
            written.total += 1
            if written.total > most:
                raise TooManyImagesError(f"The job has more than {most} images: make several jobs of it.")
            if source.custom_id in seen:
                raise DuplicateIdError(f"Two images of the job have the custom_id {source.custom_id!r}.")
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
        blobs.write(path, manifest)  # type: ignore[arg-type]  # a file in all but name
    return written
