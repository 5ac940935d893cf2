"""References: where the bytes of an image are. Entries and manifests hold references, never bytes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import stat
import sys
import time
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from workers.errors import (
    ArchiveEntryError,
    FetchBlockedError,
    FetchFailedError,
    ImageChangedError,
    ImageError,
    ImageMissingError,
    ImageTooLargeError,
    ItemInvalidError,
    SourceNotAllowedError,
    SourceUnreadableError,
)
from workers.io.blobs import BlobStore, bounded
from workers.io.folders import within_roots
from workers.io.locations import read_location
from workers.settings import Settings

_READS, _PAUSE_SECONDS = 3, 0.1  # attempts to read a file that changes meanwhile, and the pause between them

_FAILED_BEFORE = {
    error.code: error
    for error in (
        ArchiveEntryError,
        FetchBlockedError,
        FetchFailedError,
        ImageMissingError,
        ImageTooLargeError,
        ItemInvalidError,
    )
}


def file_ref(path: Path) -> str:
    """Return the reference of a file of the server. The path is quoted, since a file name need not be UTF-8."""
    return "file:" + quote_from_bytes(os.fsencode(path))


def failed_ref(error: ImageError) -> str:
    """Return the reference of an image that failed before it was queued. To fetch it raises the same error again."""
    assert error.code in _FAILED_BEFORE, error.code
    return "failed:" + json.dumps([error.code, str(error), error.retryable], ensure_ascii=False)


def fetched_path(job_id: str, index: int) -> str:
    """Return the path in the blob store for the bytes of an image that comes by URL."""
    return f"jobs/{job_id}/fetched/{index}"


def is_remote(ref: str) -> bool:
    """Return whether an image must be fetched by URL, which may take long."""
    return ref.startswith("url:")


def fetch(ref: str, blobs: BlobStore, settings: Settings) -> bytes:
    """Return the bytes of an image that is not remote. Raises ImageError, StoreUnavailableError."""
    kind, _, where = ref.partition(":")
    if kind == "blob":
        return blobs.read(where, settings.max_image_bytes)
    if kind == "failed":
        code, detail, retryable = json.loads(where)
        kind_of_error = _FAILED_BEFORE[code]
        if kind_of_error is FetchFailedError:
            raise FetchFailedError(detail, retryable=retryable)
        raise kind_of_error(detail)
    if kind == "fs":
        return _read_location(where, settings)
    return _read_file(Path(os.fsdecode(unquote_to_bytes(where))), settings)


def _read_location(url: str, settings: Settings) -> bytes:
    max_bytes = settings.max_image_bytes
    try:
        missing = "There is no such file in the store."
        content = read_location(url, settings.source_prefixes, max_bytes + 1, missing)
    except (SourceNotAllowedError, SourceUnreadableError) as error:
        raise ImageMissingError(str(error)) from error
    return bounded(io.BytesIO(content), max_bytes)


def _read_file(path: Path, settings: Settings) -> bytes:
    """Read a file as it is now, even if it changed since it was listed.

    Raises ImageMissingError, ImageTooLargeError; ImageChangedError if the file changes at every attempt to read it.
    """
    try:
        for attempt in range(_READS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            content, unchanged = _read_once(path, settings)
            if unchanged:
                return content
    except OSError as error:
        raise ImageMissingError(f"The file cannot be read: {error.strerror or error}.") from error
    raise ImageChangedError("The file was being written while it was read: send it again once it is complete.")


def _read_once(path: Path, settings: Settings) -> tuple[bytes, bool]:
    """Return the content of a file, and whether the file stayed the same while it was read."""
    # O_NONBLOCK: opening a fifo must not block. The root is checked for the open file, not for its path: if the file or
    # a folder above it is replaced by a link in the meantime, that does not change what is read.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as file:  # noqa: PTH123  pathlib opens no descriptors
        before = os.fstat(opened)
        if not stat.S_ISREG(before.st_mode):
            raise ImageMissingError("The file is not a regular file.")
        if not within_roots(_path_of(opened), settings.folder_roots):
            raise ImageMissingError("The file is not under an allowed root of the worker.")
        content = bounded(file, settings.max_image_bytes)
        after = os.fstat(opened)
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return content, unchanged and len(content) == after.st_size


def _path_of(opened: int) -> Path:
    """Return the path of an open file as the kernel knows it, with links resolved."""
    if sys.platform == "darwin":
        path = fcntl.fcntl(opened, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(path.rstrip(b"\0")))
    return Path(f"/proc/self/fd/{opened}").readlink()
