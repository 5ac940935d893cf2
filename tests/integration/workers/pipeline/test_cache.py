"""Results that were made before: taken where the same is asked again, never for anything else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.workers.conftest import Worker, photo
from tests.support.servers.scripted_server import ScriptedServer
from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions

PHOTOS = [photo(number) for number in range(10)]


def done(worker: Worker, job: Job) -> list[dict[str, Any]]:
    worker.detect()
    kept = threading.Barrier(worker.settings.decode_threads + 1)  # results are kept beside, when the job may be over
    for _ in range(worker.settings.decode_threads):
        worker.runtime._context.decode_threads.submit(kept.wait, 60)
    kept.wait(180)
    assert worker.store.get(job.id).state is JobState.SUCCEEDED
    return worker.results(job)


def detections(results: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(result["detections"]) for result in results]


def test_only_what_is_new_is_predicted(worker: Worker, server: ScriptedServer) -> None:
    """The others have the results that they had, and say so; names and ids are the new job's."""
    first = done(worker, worker.submit(*PHOTOS, cache=True))
    assert sum(server.batches) == 10
    again = done(worker, worker.submit(photo(99), *PHOTOS, cache=True))
    assert sum(server.batches) == 11
    assert detections(again[1:]) == detections(first)
    assert [result.get("cached", False) for result in again] == [False] + [True] * 10
    assert [result["name"] for result in again] == [f"{number}.png" for number in range(11)]
    assert [result["index"] for result in again] == list(range(11))
    done(worker, worker.submit(photo(99), cache=True))
    assert sum(server.batches) == 11


def test_where_nobody_asks_nothing_is_kept(worker: Worker, server: ScriptedServer) -> None:
    done(worker, worker.submit(PHOTOS[0]))
    assert not list(Path(worker.settings.blob_url).rglob("cache/*"))
    done(worker, worker.submit(PHOTOS[0], cache=True))
    done(worker, worker.submit(PHOTOS[0]))
    assert sum(server.batches) == 3


@pytest.mark.parametrize("options", [{"min_score": 0.99}, {"max_detections": 1}, {"tiles": "1x2"}])
def test_other_options_are_another_result(worker: Worker, server: ScriptedServer, options: dict[str, Any]) -> None:
    done(worker, worker.submit(PHOTOS[0], cache=True))
    before = sum(server.batches)
    done(worker, worker.submit(PHOTOS[0], cache=True, **options))
    assert sum(server.batches) > before


def test_another_version_is_another_result(worker: Worker, server: ScriptedServer) -> None:
    done(worker, worker.submit(PHOTOS[0], cache=True))
    server.version = 2
    worker.runtime.probe()
    (result,) = done(worker, worker.submit(PHOTOS[0], cache=True))
    assert (result["model_version"], sum(server.batches)) == (2, 2)


def test_results_grow_too_old(make_worker: Callable[..., Worker], server: ScriptedServer, monkeypatch: Any) -> None:
    """Then they are made anew, and the old ones are deleted."""
    worker = make_worker(cache_seconds=1000)
    now = [(time.time() // 1000 + 0.5) * 1000]  # in the middle of a period
    monkeypatch.setattr(RedisLink, "now", lambda _: now[0])
    folder = Path(worker.settings.blob_url) / "cache"
    done(worker, worker.submit(PHOTOS[0], cache=True))
    now[0] += 900  # the next period
    done(worker, worker.submit(PHOTOS[0], cache=True))
    assert sum(server.batches) == 1
    now[0] += 200
    done(worker, worker.submit(PHOTOS[0], cache=True))
    assert sum(server.batches) == 2
    due = dict(worker.link.client.zrangebyscore("sl:due", "-inf", "+inf", withscores=True))
    purges = {name: at for name, at in due.items() if name.startswith("purge:cache/")}
    assert sorted(purges) == [f"purge:cache/{path.name}" for path in sorted(folder.iterdir())]
    assert all(at / 1000 >= now[0] for at in purges.values())
    worker.link.client.zadd("sl:due", dict.fromkeys(purges, 1))
    worker.runtime.do_duties()
    assert list(folder.glob("*")) == []


def test_a_cache_that_is_broken_is_as_good_as_none(
    worker: Worker, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot be read, and one that cannot be written: images are done all the same."""
    done(worker, worker.submit(PHOTOS[0], cache=True))
    (kept,) = Path(worker.settings.blob_url).rglob("cache/*/*/*.json")
    kept.write_text("{")
    done(worker, worker.submit(PHOTOS[0], cache=True))
    assert sum(server.batches) == 2
    write = BlobStore.write

    def full(self: BlobStore, path: str, content: Any, **options: Any) -> int:
        if path.startswith("cache/"):
            raise StoreUnavailableError("No space left on device")
        return write(self, path, content, **options)

    monkeypatch.setattr(BlobStore, "write", full)
    done(worker, worker.submit(PHOTOS[1], cache=True))
    done(worker, worker.submit(PHOTOS[1], cache=True))
    assert sum(server.batches) == 4


def test_failures_are_not_kept(worker: Worker) -> None:
    """Another limit, another library: it may succeed the next time."""
    worker.submit(b"no image", cache=True)
    worker.detect()
    assert not list(Path(worker.settings.blob_url).rglob("cache/*"))
    assert JobOptions("default").cache is False
