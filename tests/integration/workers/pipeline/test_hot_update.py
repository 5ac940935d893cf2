"""A new version goes live while jobs run: real model server, real worker, nothing failed, nothing mixed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.contract import Label
from tests.integration.workers.conftest import Worker, photo
from tests.support.models import tiny_contract, write_tiny_model
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.model_server import ServerProcess, publish
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.job import Job, JobState


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 answer alike but call things by other names; 3 takes larger images."""
    base = tmp_path_factory.mktemp("versions")
    for number, size in ((1, 32), (2, 32), (3, 48)):
        labels = tuple(Label(id=label_id, name=f"v{number}-{label_id}") for label_id in range(1, 6))
        contract = tiny_contract(height=size, width=size).model_copy(update={"labels": labels})
        write_tiny_model(base, number, contract=contract, delay_ms=20)
    return base


@pytest.fixture
def served(tmp_path: Path, server: ScriptedServer) -> Iterator[ServerProcess]:
    """A real model server in the place of the scripted one, with nothing to serve yet."""
    server.stop()
    base = tmp_path / "models"
    base.mkdir()
    process = ServerProcess(base, tmp_path / "server.log", port=server.port)
    yield process
    process.end()


class Stream:
    """Submits small and large jobs one after the other, until it is told to stop."""

    def __init__(self, front: Worker) -> None:
        self.front, self.jobs = front, list[Job]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        photos = [photo(number) for number in range(24)]
        while not self._stop.is_set():
            self.jobs += [self.front.submit(*photos), self.front.submit(photos[0])]
            for job in self.jobs[-2:]:
                self.front.store.wait(job.id, 30)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def newest(self) -> tuple[int, ...]:
        """The versions that made the newest finished job's results."""
        done = [stored for job in self.jobs[:] if (stored := self.front.store.get(job.id)).state.terminal]
        return done[-1].model_versions if done else ()


@pytest.mark.process
def test_versions_come_and_go_while_jobs_run(
    front: Worker, start: Callable[[str], CeleryWorker], served: ServerProcess, versions: Path
) -> None:
    """1 -> 2 -> 3 (another input size) -> back to 2 by renaming 3: every image succeeds once, with its own labels."""
    publish(versions / "1", served.base, 1)
    served.start()
    start("prefork")
    stream = Stream(front)
    try:
        for number in (1, 2, 3):
            if number > 1:
                publish(versions / str(number), served.base, number)
            wait_until(lambda: stream.newest() == (number,), what=f"version {number}")  # noqa: B023  called at once
        (served.base / "3").rename(served.base / "3.disabled")
        wait_until(lambda: stream.newest() == (2,), what="the roll-back")
    finally:
        stream.stop()
    seen: set[int] = set()
    for job in stream.jobs:
        stored = front.store.get(job.id)
        assert (stored.state, stored.succeeded) == (JobState.SUCCEEDED, job.total)
        results = front.results(job)
        assert [result["index"] for result in results] == list(range(job.total))
        for result in results:
            seen.add(result["model_version"])
            assert all(box["label"].startswith(f"v{result['model_version']}-") for box in result["detections"])
    assert seen == {1, 2, 3}


def test_a_broken_version_changes_nothing(
    front: Worker, start: Callable[[str], CeleryWorker], served: ServerProcess, versions: Path
) -> None:
    """A version that cannot be loaded is refused, said in the log, and the old one goes on."""
    publish(versions / "1", served.base, 1)
    served.start()
    start("prefork")
    stream = Stream(front)
    try:
        wait_until(lambda: stream.newest() == (1,), what="version 1")
        broken = publish(versions / "2", served.base, 2)
        (broken / "saved_model.pb").write_bytes(b"rubbish")
        wait_until(lambda: "version 2 failed to load" in served.text(), what="the refusal")
        before = len(stream.jobs)
        wait_until(lambda: len(stream.jobs) > before + 6, what="further jobs")
    finally:
        stream.stop()
    assert {front.store.get(job.id).model_versions for job in stream.jobs} == {(1,)}
    assert all(front.store.get(job.id).state is JobState.SUCCEEDED for job in stream.jobs)
