"""File systems of fsspec URLs, opened so that every use sees a store as it is now."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.dircache import DirCache


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the file system of an fsspec URL, and the path in it. Raises what fsspec and the store's library raise.

    fsspec keeps one file system per process and store, and many of them cache the folders that they have listed, with
    the sizes of the files, without an end. What others change in the store would never be seen, and a longer file that
    replaces another would be read up to the old size. So listings are not cached. The option `use_listings_cache` is
    not passed for this, because some file systems (sftp) refuse options that they do not know.
    """
    files, path = fsspec.core.url_to_fs(url)
    cache = getattr(files, "dircache", None)
    if isinstance(cache, DirCache) and cache.use_listings_cache:
        cache.use_listings_cache = False
        cache.clear()
    return files, path
