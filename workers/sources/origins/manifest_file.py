"""Manifests: one row per image, as JSON lines or as CSV with a header.

A row has `path` or `url`, and may have `name` (shown in the results) and `custom_id`. A `url` is http(s), or an fsspec
URL under an allowed prefix. A `path` is absolute under an allowed root of the server, or relative to a manifest that
lies under an allowed root or prefix itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from workers.errors import (
    FolderNotAllowedError,
    FolderNotFoundError,
    ItemInvalidError,
    JobError,
    ManifestError,
    OutboundBlockedError,
    SourceNotAllowedError,
)
from workers.io.folders import allowed_folder, within_roots
from workers.io.locations import allowed_location, read_location
from workers.io.names import control_in, printable, without_controls
from workers.io.urls import parse_http_url
from workers.settings import Settings
from workers.sources.origins.manifest_rows import FIELDS, Row, is_empty, read_rows
from workers.sources.origins.origin import Notes, Part, sha256
from workers.sources.references import failed_ref, file_ref

MAX_CUSTOM_ID_CHARS = 256
_MAX_PATH = 4096


class Manifest:
    """The images of a manifest. `base` is the folder or the fsspec location that relative paths start from."""

    empty = "The manifest has no rows."

    def __init__(self, content: BinaryIO, settings: Settings, base: Path | str | None = None) -> None:
        self.notes = Notes()
        self._content = content
        self._settings = settings
        self._base = base

    def identity(self) -> Iterator[str]:
        """Yield the kind, where the manifest lies, and its hash."""
        self._check_size()
        yield from ("manifest", str(self._base or ""), sha256(self._content))

    def parts(self) -> Iterator[Part]:
        """Yield the images of the rows. A row that is wrong in itself becomes an image that fails.

        Raises ManifestError if the file is no manifest. If all rows are wrong, it raises the error of the first one:
        ManifestError, FolderNotAllowedError, SourceNotAllowedError; the message names the row.
        """
        self._check_size()
        rows, self.notes.name_encoding = read_rows(self._content, self._settings.archive_encoding)
        yield from self._parts(rows)

    def _parts(self, rows: Iterator[tuple[int, Row]]) -> Iterator[Part]:
        first_error: JobError | None = None
        usable = False
        for number, row in rows:
            try:
                if isinstance(row, ManifestError):
                    raise row
                part = self._part(row)
            except (ManifestError, OutboundBlockedError, FolderNotAllowedError, SourceNotAllowedError) as error:
                kind = ManifestError if isinstance(error, OutboundBlockedError) else type(error)
                message = str(error) if error is row else f"Row {number} of the manifest: {error}"
                first_error = first_error or kind(message)
                part = _failed_part(number, row, message)
            else:
                usable = True
            yield part
        if first_error and not usable:
            raise first_error

    def _check_size(self) -> None:
        check_manifest_bytes(self._content.seek(0, io.SEEK_END), self._settings)
        self._content.seek(0)

    def _part(self, row: Mapping[str, Any]) -> Part:
        unknown = sorted(str(name) for name, value in row.items() if name not in FIELDS and not is_empty(value))
        if unknown == [""]:
            raise ManifestError("It has a value in a column without a name: name the column, or delete it.")
        if unknown:
            raise ManifestError(f"There is no field {unknown[-1][:100]!r}: use {', '.join(FIELDS)}.")
        fields = {name: value for name, value in row.items() if not is_empty(value)}
        for name, value in fields.items():
            if not isinstance(value, str):
                raise ManifestError(f"`{name}` must be text.")
            if control := control_in(value):
                raise ManifestError(f"`{name}` has the control character {control}: write it without.")
        if "path" not in fields and "url" not in fields:
            raise ManifestError("It has neither `path` nor `url`: give one of them.")
        if "path" in fields and "url" in fields:
            raise ManifestError("Give either `path` or `url`, not both.")
        custom_id = fields.get("custom_id", "")
        if len(custom_id) > MAX_CUSTOM_ID_CHARS:
            raise ManifestError(f"`custom_id` is longer than {MAX_CUSTOM_ID_CHARS} characters.")
        name, ref = self._by_url(fields["url"]) if "url" in fields else self._by_path(fields["path"])
        if len(fields.get("name", "")) > _MAX_PATH:
            raise ManifestError(f"`name` is longer than {_MAX_PATH} characters.")
        return Part(printable(fields.get("name", name)), ref=ref, custom_id=custom_id)

    def _by_url(self, url: str) -> tuple[str, str]:
        if url.partition("://")[0].lower() in {"http", "https"}:
            return parse_http_url(url).file_name or url.partition("?")[0], f"url:{url}"
        location = allowed_location(url, self._settings.source_prefixes)
        return location.rpartition("/")[2], f"fs:{location}"

    def _by_path(self, path: str) -> tuple[str, str]:
        if len(path) > _MAX_PATH:
            raise ManifestError(f"`path` is longer than {_MAX_PATH} characters.")
        if isinstance(self._base, str):
            if "://" in path:
                raise ManifestError("`path` is a URL: give it as `url`.")
            if path.startswith("/"):
                raise ManifestError("`path` is absolute: make it relative to the manifest.")
            return path, f"fs:{allowed_location(f'{self._base}/{path}', self._settings.source_prefixes)}"
        full = Path(path) if self._base is None else self._base / path
        # Only the name is checked here. The worker resolves links when it reads the file.
        allowed = ".." not in full.parts and any(full.is_relative_to(root) for root in self._settings.folder_roots)
        if not full.is_absolute() or not allowed:
            raise FolderNotAllowedError("`path` is not under an allowed root: see SHELFLINE_FOLDER_ROOTS.")
        return path, file_ref(full)


@contextmanager
def open_manifest(where: str, settings: Settings) -> Iterator[tuple[BinaryIO, Path | str]]:
    """Open a manifest by its path on the server or its fsspec URL; also yield where its relative paths start from.

    Raises FolderNotAllowedError, FolderNotFoundError, ManifestError, SourceNotAllowedError, SourceUnreadableError.
    """
    if "://" in where:
        url, missing = allowed_location(where, settings.source_prefixes), "There is no manifest at the location."
        content = read_location(url, settings.source_prefixes, settings.max_manifest_bytes + 1, missing)
        yield io.BytesIO(content), url.rpartition("/")[0]
        return
    path = Path(where)
    check_manifest_file(path, settings)
    try:
        opened = path.open("rb")
    except OSError as error:
        raise FolderNotFoundError(f"The manifest cannot be read: {error.strerror}.") from error
    with opened:
        yield opened, path.parent


def check_manifest_file(path: Path, settings: Settings) -> None:
    """Raise FolderNotAllowedError, FolderNotFoundError or ManifestError if a file cannot be a manifest."""
    allowed_folder(str(path.parent), settings.folder_roots)
    try:
        # The folder is allowed, but the file may be a link to a place that is not.
        if not within_roots(path, settings.folder_roots) or not path.is_file():
            raise FolderNotFoundError("There is no such manifest under an allowed root.")
        size = path.stat().st_size
    except (OSError, RuntimeError) as error:
        raise FolderNotFoundError(f"The manifest cannot be read: {error}.") from error
    check_manifest_bytes(size, settings)


def check_manifest_bytes(size: int, settings: Settings) -> None:
    """Raise ManifestError if a manifest of `size` bytes is too large."""
    if size > settings.max_manifest_bytes:
        raise ManifestError(f"The manifest has more than {settings.max_manifest_bytes} bytes: make several jobs of it.")


def _failed_part(number: int, row: Row, message: str) -> Part:
    """Return an image that fails with a message; it keeps the caller's id, and a name if the row has one."""
    texts = {} if isinstance(row, ManifestError) else row
    fields = {key: texts[key] for key in FIELDS if isinstance(texts.get(key), str)}
    custom_id = fields.get("custom_id", "")
    usable_id = custom_id if not control_in(custom_id) and len(custom_id) <= MAX_CUSTOM_ID_CHARS else ""
    name = fields.get("name") or fields.get("path") or f"row-{number}"  # not the URL, which may have a password
    return Part(without_controls(name)[:_MAX_PATH], ref=failed_ref(ItemInvalidError(message)), custom_id=usable_id)
