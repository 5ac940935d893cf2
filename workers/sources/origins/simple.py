"""Origins that need no parser: uploaded files, single items, a folder of the server, an fsspec location."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workers.errors import ImageMissingError, ItemInvalidError
from workers.io.folders import walk_images
from workers.io.locations import list_images
from workers.io.names import printable
from workers.io.urls import parse_http_url
from workers.sources.origins.origin import Notes, Part, sha256
from workers.sources.references import failed_ref, file_ref


class Files:
    """Uploaded files, each a pair (name, content). They may be read twice."""

    empty = "The request has no image: send at least one."

    def __init__(self, files: Iterable[tuple[str, BinaryIO]]) -> None:
        self.notes = Notes()
        self._files = files

    def known_bytes(self) -> int:
        """Return how many bytes the files have; 0 if they come one after another."""
        if not isinstance(self._files, Sequence):
            return 0
        total = 0
        for _, content in self._files:
            total += content.seek(0, io.SEEK_END)
            content.seek(0)
        return total

    def identity(self) -> Iterator[str]:
        """Yield the name and the hash of each file."""
        for name, content in self._files:
            yield name
            yield sha256(content)

    def parts(self) -> Iterator[Part]:
        """Yield the files."""
        for name, content in self._files:
            yield Part(printable(name), content)


@dataclass(frozen=True)
class Item:
    """An image by its http(s) URL, or by its bytes; or with an `error`, what is wrong with the item."""

    url: str = ""
    image: bytes = b""
    custom_id: str = ""
    error: str = ""


class Items:
    """Single images, each with its URL or its bytes."""

    empty = "The job has no items: send at least one."

    def __init__(self, items: Sequence[Item]) -> None:
        self.notes = Notes()
        self._items = items

    def known_bytes(self) -> int:
        """Return how many bytes the items have that come with their bytes."""
        return sum(len(item.image) for item in self._items)

    def identity(self) -> Iterator[str]:
        """Yield the fields of each item, of bytes their hash."""
        for item in self._items:
            yield from ("item", item.custom_id, item.url, "" if item.url else hashlib.sha256(item.image).hexdigest())
            if item.error:
                yield item.error

    def parts(self) -> Iterator[Part]:
        """Yield the items. An item whose URL has no file name is named by its number. Raises OutboundBlockedError."""
        for number, item in enumerate(self._items):
            if item.error:
                failed = failed_ref(ItemInvalidError(item.error))
                yield Part(f"item-{number}", ref=failed, custom_id=item.custom_id)
            elif item.url:
                name = parse_http_url(item.url).file_name or f"item-{number}"
                yield Part(name, ref=f"url:{item.url}", custom_id=item.custom_id)
            else:
                yield Part(f"item-{number}", io.BytesIO(item.image), custom_id=item.custom_id)


class Folder:
    """The image files below an allowed folder of the server."""

    empty = "The folder has no image files (jpg, png, webp, ...)."

    def __init__(self, folder: Path) -> None:
        self.notes = Notes()
        self._folder = folder

    def identity(self) -> Iterator[str]:
        """Yield the kind and the folder's path, not its content, which is listed once."""
        yield from ("folder", str(self._folder))

    def parts(self) -> Iterator[Part]:
        """Yield the files in a stable order, and folders below that cannot be read. Raises FolderNotFoundError."""
        for file in walk_images(self._folder, self.notes.skipped):
            name = printable(str(file.path.relative_to(self._folder)))
            if file.error:
                yield Part(f"{name}/", ref=failed_ref(ImageMissingError(file.error)))
            else:
                yield Part(name, ref=file_ref(file.path), size=file.size, mtime=file.mtime)


class Location:
    """The image files below an fsspec location."""

    empty = "There are no image files (jpg, png, webp, ...) below the location."

    def __init__(self, url: str, prefixes: tuple[str, ...]) -> None:
        self.notes = Notes()
        self._url = url
        self._prefixes = prefixes

    def identity(self) -> Iterator[str]:
        """Yield the kind and the location, not its content, which is listed once."""
        yield from ("location", self._url)

    def parts(self) -> Iterator[Part]:
        """Yield the files in a stable order. Raises SourceNotAllowedError, SourceUnreadableError."""
        for file in list_images(self._url, self._prefixes, self.notes.skipped):
            yield Part(printable(file.name), ref=f"fs:{file.url}", size=file.size, mtime=file.mtime)
