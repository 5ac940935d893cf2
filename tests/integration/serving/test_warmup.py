"""A version's warm-up records, as the exporter writes them, on the server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from serving.client import ModelClient
from serving.server.batching.scheduler import BatchScheduler
from serving.server.batching.settings import BatchSettings
from serving.server.errors import LoadError
from serving.server.loading.saved_model import LoadedModel
from serving.server.loading.version_loader import VersionLoader
from serving.server.loading.warmup import WARMUP_FILE, warm_up
from serving.server.metrics import Metrics
from tests.support.models import tiny_contract
from tests.support.servers.model_server import ServerProcess, publish, random_images, until


class Counting(LoadedModel):
    """Remembers the rows of each run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[int] = []

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        self.rows += [len(array) for array in feeds.values()]
        return super().run(feeds, fetches, deadline=deadline)


@pytest.fixture(scope="module")
def recorded(prototypes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with the records that every export has."""
    from exporter.graph import tensorflow

    tensorflow.prepare()
    from exporter.versions.warmup_records import write_warmup

    folder = tmp_path_factory.mktemp("recorded") / "1"
    shutil.copytree(prototypes / "1", folder)
    write_warmup(folder, tiny_contract())
    return folder


def test_each_record_is_run(recorded: Path) -> None:
    """`detect` with 1, 2, 4 and 8 rows, `describe` with 1."""
    model = Counting(recorded)
    warm_up(model, recorded)
    model.close()

    assert model.rows == [1, 2, 4, 8, 1]


@pytest.mark.parametrize(
    ("rows", "error"),
    [(8, None), (4, "a warm-up record failed: Task size 8 is larger than maximum input batch size 4")],
)
def test_records_go_through_batching(recorded: Path, rows: int, error: str | None) -> None:
    """As in TF Serving, which does not start with records that are larger than a batch."""
    load = VersionLoader(Metrics(), BatchScheduler(BatchSettings(max_batch_size=rows, num_batch_threads=1), Metrics()))
    if error is None:
        load(recorded).close()
        return
    with pytest.raises(LoadError, match=error):
        load(recorded)


def test_records_may_be_left_aside_or_repeated(recorded: Path, prototypes: Path) -> None:
    """As the flags say; the time they took is in the metrics."""
    metrics = Metrics()
    batching = BatchScheduler(BatchSettings(max_batch_size=1, num_batch_threads=1), Metrics())
    VersionLoader(metrics, batching, warm_up_iterations=0)(recorded).close()

    assert "model_warmup_latency_count" not in metrics.page()
    model = Counting(recorded)
    assert warm_up(model, recorded, 2) == 5
    model.close()
    assert model.rows == [1, 1, 2, 2, 4, 4, 8, 8, 1, 1]
    VersionLoader(metrics, None)(recorded).close()
    VersionLoader(metrics, None)(prototypes / "1").close()
    assert f'model_warmup_latency_count{{model_path="{recorded}",status="OK"}} 1' in metrics.page()


def test_a_version_without_records_is_left_alone(prototypes: Path) -> None:
    """They are optional."""
    model = Counting(prototypes / "1")
    warm_up(model, prototypes / "1")
    model.close()

    assert model.rows == []


def test_what_is_no_record_is_refused(recorded: Path, tmp_path: Path) -> None:
    """As TF Serving refuses it: a file cut short, a record of another kind."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    model = Counting(recorded)
    cut, other, rubbish = (tmp_path / name / WARMUP_FILE for name in ("cut", "other", "rubbish"))
    for path in (cut, other, rubbish):
        path.parent.mkdir(parents=True)
    cut.write_bytes((recorded / WARMUP_FILE).read_bytes()[:-1])
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    for path, record in ((other, log.SerializeToString()), (rubbish, b"\xff")):
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(record)

    with pytest.raises(LoadError, match="warm-up records cannot be read"):
        warm_up(model, tmp_path / "cut")
    with pytest.raises(LoadError, match="Unsupported log_type for warmup: session_run_log"):
        warm_up(model, tmp_path / "other")
    with pytest.raises(LoadError, match="Failed to parse PredictionLog"):
        warm_up(model, tmp_path / "rubbish")
    model.close()


@pytest.mark.process
def test_a_version_whose_records_fail_is_not_served(
    recorded: Path, prototypes: Path, own: ServerProcess, tmp_path: Path
) -> None:
    """Records of another input size: so would clients' calls fail. The old version goes on."""
    from exporter.versions.warmup_records import write_warmup

    publish(recorded, own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)
    shutil.copytree(prototypes / "2", tmp_path / "2")
    write_warmup(tmp_path / "2", tiny_contract(height=48, width=48))
    (tmp_path / "2").rename(own.base / "2")
    until(lambda: client.status("default")[0].error, "the refusal")

    second, first = client.status("default")
    assert (second.version, first.version, first.state) == (2, 1, "AVAILABLE")
    assert "a warm-up record failed" in second.error
    assert "version 2 failed to load" in own.text()
    assert len(client.detect(client.describe("default"), random_images(1))) == 1
    client.close()
