"""References: where the bytes of an image are. Work messages hold them, never the bytes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from workers.blobs import BlobStore, bounded
from workers.errors import (
    ArchiveEntryError,
    FetchBlockedError,
    FetchFailedError,
    ImageError,
    ImageMissingError,
    ImageTooLargeError,
    SourceNotAllowedError,
    SourceUnreadableError,
)
from workers.locations import read_location
from workers.settings import Settings
from workers.sources import within_roots

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
    # Looked at again where it is read: the file may have become a link to elsewhere since the folder was walked.
    try:
        if not within_roots(path, settings.folder_roots):
            raise ImageMissingError("The file does not lie under an allowed root of the worker.")
        if not path.is_file():
            raise ImageMissingError("The file is gone, or is no plain file.")
        with path.open("rb") as found:
            return bounded(found, settings.max_image_bytes)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise ImageMissingError(f"The file cannot be read: {error}.") from error
