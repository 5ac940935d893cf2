"""Redis and blob store belong together by an id that is in both."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from workers.errors import SettingsError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.store.store_id import KEY, check_store_id


def test_the_first_process_ties_them_and_others_fit(link: RedisLink, tmp_path: Path) -> None:
    """However many start at once; no other file is left."""
    folder = tmp_path / "blobs"
    errors: list[Exception] = []

    def start() -> None:
        try:
            check_store_id(link, BlobStore(str(folder)))
        except SettingsError as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in folder.iterdir()] == ["store-id"]
    assert link.client.get(KEY) == (folder / "store-id").read_text()


def test_another_blob_store_is_refused(link: RedisLink, tmp_path: Path) -> None:
    """Whether it is new or has an id; the error says how to accept it, which works."""
    check_store_id(link, BlobStore(str(tmp_path / "a")))
    for _ in range(2):
        with pytest.raises(SettingsError, match=f"another blob store.*delete the key {KEY}"):
            check_store_id(link, BlobStore(str(tmp_path / "b")))
    link.client.delete(KEY)
    check_store_id(link, BlobStore(str(tmp_path / "b")))


def test_a_blob_store_may_get_another_redis(link: RedisLink, tmp_path: Path) -> None:
    """One that has lost its data is filled anew."""
    check_store_id(link, BlobStore(str(tmp_path / "a")))
    link.client.flushdb()
    check_store_id(link, BlobStore(str(tmp_path / "a")))


def test_other_stores_have_an_id_too(link: RedisLink) -> None:
    """As an object."""
    store = BlobStore("memory://ids")
    check_store_id(link, store)
    check_store_id(link, store)
    assert store.read("store-id", 100).decode() == link.client.get(KEY)


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    """The caller decides whether to wait for it."""
    nobody = RedisLink("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError):
        check_store_id(nobody, BlobStore(str(tmp_path / "a")))
    nobody.close()
