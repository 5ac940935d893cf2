"""References: where the bytes of an image are. Work messages hold them, never the bytes."""

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
    SourceNotAllowedError,
    SourceUnreadableError,
)
from workers.io.blobs import BlobStore, bounded
from workers.io.folders import within_roots
from workers.io.locations import read_location
from workers.settings import Settings

_READS, _PAUSE_SECONDS = 3, 0.1  # of a file that changes while it is read

_FAILED_BEFORE = {
    one.code: one
    for one in (ArchiveEntryError, FetchBlockedError, FetchFailedError, ImageMissingError, ImageTooLargeError)
}


def file_ref(path: Path) -> str:
    """The reference of a file of the server; quoted, since a name need not be UTF-8."""
    return "file:" + quote_from_bytes(os.fsencode(path))


def failed_ref(error: ImageError) -> str:
    """The reference of an image that failed before its turn: fetching it raises this error again."""
    assert error.code in _FAILED_BEFORE, error.code
    return "failed:" + json.dumps([error.code, str(error), error.retryable], ensure_ascii=False)


def fetched_path(job_id: str, index: int) -> str:
    """Where in the blob store the bytes of an image are that came by URL."""
    return f"jobs/{job_id}/fetched/{index}"


def is_remote(ref: str) -> bool:
    """Whether an image has to be fetched by URL, which may take long."""
    return ref.startswith("url:")


def fetch(ref: str, blobs: BlobStore, settings: Settings) -> bytes:
    """The bytes of an image that is not remote; raises ImageError, StoreUnavailableError."""
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
    most = settings.max_image_bytes
    try:
        content = read_location(url, settings.source_prefixes, most + 1)
    except FileNotFoundError as error:
        raise ImageMissingError("There is no such file in the store.") from error
    except (SourceNotAllowedError, SourceUnreadableError) as error:
        raise ImageMissingError(str(error)) from error
    return bounded(io.BytesIO(content), most)


def _read_file(path: Path, settings: Settings) -> bytes:
    """A file as it is now, which need not be as it was listed; but not one that changes while it is read."""
    try:
        for tried in range(_READS):
            if tried:
                time.sleep(_PAUSE_SECONDS)
            content, unchanged = _read_once(path, settings)
            if unchanged:
                return content
    except OSError as error:
        raise ImageMissingError(f"The file cannot be read: {error.strerror or error}.") from error
    raise ImageChangedError("The file was being written while it was read: send it again once it is whole.")


def _read_once(path: Path, settings: Settings) -> tuple[bytes, bool]:
    """What a file has, and whether it stayed the same meanwhile."""
    # A fifo must not be waited for. Where the file lies is asked of what was opened: whatever is put in its place, or
    # in that of a folder above it, before or after that, is not what is read.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as found:  # noqa: PTH123  it is open already
        before = os.fstat(opened)
        if not stat.S_ISREG(before.st_mode):
            raise ImageMissingError("The file is no plain file.")
        if not within_roots(_path_of(opened), settings.folder_roots):
            raise ImageMissingError("The file does not lie under an allowed root of the worker.")
        content = bounded(found, settings.max_image_bytes)
        after = os.fstat(opened)
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return content, unchanged and len(content) == after.st_size


def _path_of(opened: int) -> Path:
    """Where an open file lies, as the kernel knows it, links resolved."""
    if sys.platform == "darwin":
        found = fcntl.fcntl(opened, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(found.rstrip(b"\0")))
    return Path(f"/proc/self/fd/{opened}").readlink()
