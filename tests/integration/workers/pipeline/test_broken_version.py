"""A version that cannot do its work is dropped in while jobs run: it is refused, loudly, and the old one goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.client import ModelClient
from tests.integration.workers.conftest import Worker, complete, photo
from tests.support.models import write_tiny_model
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.model_server import ServerProcess, publish
from tests.support.servers.scripted_server import ScriptedServer
from workers.store.catalog import Catalog

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that works."""
    return write_tiny_model(tmp_path_factory.mktemp("whole"), 1)


@pytest.fixture
def served(tmp_path: Path, server: ScriptedServer, whole: Path) -> Iterator[ServerProcess]:
    """A real model server in the place of the scripted one, with version 1."""
    server.stop()
    base = tmp_path / "models"
    base.mkdir()
    publish(whole, base, 1)
    process = ServerProcess(base, tmp_path / "server.log", port=server.port)
    yield process.start()
    process.end()


def without(*names: str) -> Callable[[Path], None]:
    """Takes signatures off a model."""

    def take_off(folder: Path) -> None:
        from tensorflow.core.protobuf import saved_model_pb2

        path = folder / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        for name in names:
            del saved.meta_graphs[0].signature_def[name]
        path.write_bytes(saved.SerializeToString())

    return take_off


def truncate(folder: Path) -> None:
    """A copy that ended too soon."""
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without("detect"), "it describes itself, but has no signature `detect`: export it anew"),
        (without("detect", "describe"), "it has no signature `detect` and no `describe`, which version 1 answers with"),
        (without("describe"), "it has no signature `describe`, which version 1 answers with"),
        (truncate, ""),
    ],
)
def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    front: Worker,
    start: Callable[[str], CeleryWorker],
    served: ServerProcess,
    whole: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """Said in the log, in GetModelStatus and on /v1/models; jobs before and after it succeed with version 1."""
    start("prefork")
    before = front.submit(photo(0), photo(1))
    complete(front, before)
    spoil(publish(whole, tmp_path, 2))
    (tmp_path / "2").rename(served.base / "2")
    wait_until(lambda: "version 2 failed to load (try 1, " in served.text(), what="the refusal")

    after = [front.submit(photo(number), photo(number + 1)) for number in range(3)]
    for job in after:
        complete(front, job)
    catalog = Catalog(front.link)

    def is_told() -> bool:  # a worker may have looked while the version was being loaded
        published = catalog.look_up("default")
        return bool(published and len(published.versions) == 2 and published.versions[0].error)

    wait_until(is_told, what="/v1/models")

    assert {front.store.get(job.id).model_versions for job in (before, *after)} == {(1,)}
    (line,) = [line for line in served.text().splitlines() if "version 2 failed to load" in line]
    client = ModelClient(served.target, timeout=180)
    second, first = client.status("default")
    client.close()
    assert (second.version, second.state, first.version, first.state) == (2, "LOADING", 1, "AVAILABLE")
    published = catalog.look_up("default")
    assert published
    assert (published.available, published.version, published.error) == (True, 1, "")
    newest = published.versions[0]
    assert (newest.version, newest.state, newest.error) == (2, "LOADING", second.error)
    assert second.error
    assert "ERROR" in line
    assert reason in line
    assert reason in second.error
