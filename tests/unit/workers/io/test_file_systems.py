"""File systems of fsspec: opened so that they show a store as it is now."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.locations import check_location, list_images, read_location

PREFIX = "listed://shelf"


class ListedStore(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that caches its listings as object stores do: by `dircache`, with the sizes of the files."""

    protocol = "listed"

    def __init__(self) -> None:
        """Take no option, as some of fsspec's file systems do."""
        super().__init__()

    def ls(self, path: str, detail: bool = True, **_options: Any) -> Any:  # noqa: FBT001, FBT002  fsspec's signature
        """List a folder."""
        path = self._strip_protocol(path).rstrip("/")
        if path not in self.dircache:
            entries = [{**entry, "name": entry["name"].lstrip("/")} for entry in MemoryFileSystem().ls(f"/{path}")]
            self.dircache[path] = entries
            return entries if detail else [entry["name"] for entry in entries]
        return self.dircache[path] if detail else [entry["name"] for entry in self.dircache[path]]

    def _open(self, path: str, *_arguments: Any, **_options: Any) -> Any:
        return MemoryFileSystem().open(f"/{path}", "rb")


@pytest.fixture
def store(memory_store: Any) -> Iterator[Any]:
    """The store behind it: what is written there, another program wrote."""
    fsspec.register_implementation("listed", ListedStore, clobber=True)
    memory_store.pipe_file("/shelf/a.png", b"short")
    yield memory_store
    ListedStore.clear_instance_cache()


def names() -> list[tuple[str, int | None]]:
    return [(entry.name, entry.size) for entry in list_images(PREFIX, (PREFIX,))]


def test_changes_of_others_are_seen(store: Any) -> None:
    """Each listing, size and content is that of now, also if the process has listed the folder before."""
    fsspec.filesystem("listed").ls("shelf")  # a listing that the process has already
    store.pipe_file("/shelf/b.png", b"new")
    assert names() == [("a.png", 5), ("b.png", 3)]

    store.pipe_file("/shelf/a.png", b"much longer")
    store.rm_file("/shelf/b.png")
    assert names() == [("a.png", 11)]
    assert check_location(f"{PREFIX}/a.png", (PREFIX,)) == 11
    assert read_location(f"{PREFIX}/a.png", (PREFIX,), 100, "") == b"much longer"


def test_blobs_of_other_processes_are_seen(store: Any) -> None:
    """The blob store caches no listing either: `delete_tree` deletes what another process wrote meanwhile."""
    blobs = BlobStore(PREFIX)
    assert blobs._files.find("shelf") == ["shelf/a.png"]
    store.pipe_file("/shelf/b.png", b"new")
    assert blobs._files.find("shelf") == ["shelf/a.png", "shelf/b.png"]


@pytest.mark.parametrize(("number", "seconds"), [(errno.ENOSPC, 30), (errno.EDQUOT, 30), (errno.EIO, 1)])
def test_a_full_disk_is_full_for_longer(
    number: int, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says when to come back, and nothing is left of the blob."""
    store = BlobStore(str(tmp_path))

    def refuse(*_: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr("workers.io.local_files.os.write", refuse)
    with pytest.raises(StoreUnavailableError) as caught:
        store.write("a", io.BytesIO(b"x"))
    assert caught.value.retry_after == seconds
    assert list(tmp_path.iterdir()) == []
