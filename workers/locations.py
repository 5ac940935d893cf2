"""Images in other stores: fsspec locations under the prefixes that a setting allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec

from workers.errors import SourceNotAllowedError, SourceUnreadableError
from workers.sources import is_image_name


def allowed_location(url: str, prefixes: tuple[str, ...]) -> str:
    """The location, if jobs may read it; raises SourceNotAllowedError.

    It is compared as text, whole path segments at a time; what fsspec or a store might read as something else (chained
    URLs, `..`) is refused.
    """
    if not prefixes:
        raise SourceNotAllowedError("This server reads no other stores: set SHELFLINE_SOURCE_PREFIXES.")
    path = url.partition("://")[2]
    odd = "::" in url or not url.isprintable() or not {"..", "."}.isdisjoint(path.split("/"))
    if odd or not any(url.rstrip("/") == one or url.startswith(f"{one}/") for one in prefixes):
        raise SourceNotAllowedError("The location is not under an allowed prefix: see SHELFLINE_SOURCE_PREFIXES.")
    return url.rstrip("/")


def read_location(url: str, prefixes: tuple[str, ...], most: int) -> bytes:
    """Up to `most` bytes of a file of another store.

    Raises SourceNotAllowedError, SourceUnreadableError, FileNotFoundError.
    """
    files, path = _files(allowed_location(url, prefixes))
    try:
        with files.open(path, "rb") as opened:
            found: bytes = opened.read(most)
    except FileNotFoundError:
        raise
    except Exception as error:  # each store's library has its own errors
        raise SourceUnreadableError(f"{_store(url)} cannot be read: {_first_line(error)}.") from error
    return found


def list_images(url: str, prefixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The image files below a location: their paths below it and their URLs, folder by folder, in a stable order.

    Raises SourceNotAllowedError, SourceUnreadableError.
    """
    root = allowed_location(url, prefixes)
    files, path = _files(root)
    top = path.rstrip("/")
    try:
        for folder, folders, names in files.walk(path, on_error="raise", detail=True):
            shown = {name: folders[name] for name in sorted(folders) if not name.startswith(".")}
            folders.clear()
            folders.update(shown)  # it goes on with these, in this order
            below = folder.rstrip("/")[len(top) :].strip("/")
            for name in sorted(names):
                if is_image_name(name):
                    found = f"{below}/{name}" if below else name
                    yield found, f"{root}/{found}"
    except FileNotFoundError as error:
        raise SourceUnreadableError("There is nothing at the location.") from error
    except Exception as error:  # each store's library has its own errors
        raise SourceUnreadableError(f"{_store(url)} cannot be listed: {_first_line(error)}.") from error


def _files(url: str) -> tuple[Any, str]:
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except Exception as error:  # no such protocol, a package that is missing, credentials that are wrong
        raise SourceUnreadableError(f"{_store(url)} cannot be opened: {_first_line(error)}.") from error
    return found


def _store(url: str) -> str:
    return f"The store {url.partition('://')[0]}://"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
