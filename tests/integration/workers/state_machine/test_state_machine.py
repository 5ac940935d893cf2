"""Run random steps of front ends, workers, duties and time; the store and the queue must agree with a plain model.

- `front_end_rules.py` and `worker_rules.py` are the steps.
- `model_jobs.py` and `model_queue.py` are the model: what each Redis script must do and answer, in plain Python.
- `paired_link.py` runs each script in Redis and in the model, and compares the two answers.
- This file has what must hold after each step, and at the end.

Not covered here, but in other files of `tests/integration/workers`: webhooks (`webhooks/test_every_step.py`,
`webhooks/test_outbox.py`), lists of jobs (`store/test_reading.py`), metrics (`telemetry/test_metrics.py`), tiles
(`pipeline/test_tiles.py`), images that are fetched and handed on (`pipeline/test_fetching.py`), and written outputs
(`results/test_output_writer.py`).

SHELFLINE_TEST_EXAMPLES sets the number of examples; they then differ in each run.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from serving.errors import ShelflineError
from tests.integration.workers.state_machine.front_end_rules import GRACE, LEASE, PINNED, PLAIN, RETENTION
from tests.integration.workers.state_machine.model_jobs import ACTIVE, OPEN
from tests.integration.workers.state_machine.paired_link import PairedLink, replace_clock
from tests.integration.workers.state_machine.worker_rules import WorkerRules
from tests.support.servers.redis_server import RedisServer
from workers.queue.work_queue import window
from workers.settings import Settings

pytestmark = pytest.mark.process

EXAMPLES = os.environ.get("SHELFLINE_TEST_EXAMPLES")


class QueueMachine(WorkerRules):
    """After each rule the invariants hold, and in the end everything ends well."""

    @invariant()
    def clock_ticks(self) -> None:
        self.link.pass_time(1)

    @invariant()
    def jobs_are_what_they_should_be(self) -> None:
        """Counts add up, ends are final, results are written once and never change."""
        for key in self.jobs:
            expected = self.model.jobs.get(key)
            if expected is None:
                with pytest.raises(ShelflineError):
                    self.store.get(key)
                continue
            job = self.store.get(key)
            assert job.queued + job.running + job.succeeded + job.failed + job.canceled == job.total
            for state in ("queued", "running", "succeeded", "failed", "canceled"):
                assert expected.count(state) == getattr(job, state)
            assert (expected.state, expected.given_up, expected.retried_as) == (
                job.state,
                job.given_up,
                job.retried_as,
            )
            assert tuple(expected.versions) == job.model_versions
            if job.state.terminal:
                assert self.ends.setdefault(key, job.state) is job.state
            lines = list(self.store.results(key))
            assert self.model.finished_prefix(key) == lines
            before = self.results.get(key, [])
            assert before == lines[: len(before)]
            self.results[key] = lines

    @invariant()
    def accounts_are_right(self) -> None:
        client = self.link.client
        stored = {name: int(count) for name, count in client.hgetall("sl:open").items() if int(count)}
        assert dict(self.model.open()) == stored
        assert self.model.due == dict(client.zrange("sl:due", 0, -1, withscores=True))
        counted: Counter[str] = Counter()
        for field, images in client.hgetall("sl:metrics").items():
            counted[json.loads(field)[3]] += int(images)
        assert counted == self.model.outcomes()
        working = {key for key, job in self.model.jobs.items() if job.state in OPEN}
        assert working == {job for key in client.keys("sl:active:*") for job in client.zrange(key, 0, -1)}
        assert set(self.model.jobs) == set(client.zrange("sl:jobs", 0, -1))

    @invariant()
    def everything_is_somewhere(self) -> None:
        """An image without a result is in its lane, in a worker's hands, or not fed yet; a window is not exceeded."""
        client = self.link.client
        entries: dict[tuple[str, int, int], bool] = {}  # whether it is claimed
        for stream in self.link.streams():
            claimed = {pending["message_id"] for pending in client.xpending_range(stream, "workers", "-", "+", 1000)}
            stored = client.xrange(stream)
            assert claimed <= {entry for entry, _ in stored}
            for entry, fields in stored:
                entries[fields["job"], int(fields["index"]), int(fields["attempt"])] = entry in claimed
        for key, job in self.model.jobs.items():
            fed = int(client.hget(f"sl:job:{key}", "fed"))
            assert int(client.hget(f"sl:job:{key}", "waiting")) == sum(
                job_id == key and not claimed for (job_id, _, _), claimed in entries.items()
            )
            assert sum(
                job_id == key and not claimed and attempt == 0 for (job_id, _, attempt), claimed in entries.items()
            ) <= window(self.settings)
            if job.state not in OPEN:
                assert job.state != "enumerating" or f"enumerate:{key}" in self.model.due
                continue
            for index, item in enumerate(job.items):
                if item.state == "running":
                    assert entries.get((key, index, item.attempt)) is True
                elif item.state == "queued":
                    assert index >= fed or entries.get((key, index, item.attempt)) is False
            if fed < len(job.items) and job.state in ACTIVE and not self.model.waiting(key):
                assert f"topup:{key}" in self.model.due

    def teardown(self) -> None:
        """One healthy worker, and everything ends; after its retention nothing is left."""
        if sys.exc_info()[0] is not None:
            return
        self.link.held.clear()
        self.hands["one"] = []
        for _ in range(200):
            self.link.pass_time(LEASE * 1000)
            self._work()
            if all(duty.startswith("retire:") for duty in self.model.due) and not self._lanes():
                break
        else:
            pytest.fail(f"it does not end: {self.model.due}, {self._lanes()}")
        self.jobs_are_what_they_should_be()
        for key, job in self.model.jobs.items():
            assert self.store.get(key).state.terminal
            assert len(self.results[key]) == len(job.items)
            assert self.link.client.keys(f"sl:job:{key}:items") == []
        self.link.pass_time(int(RETENTION) * 1000)
        while self.duties.run_due():
            pass
        self.nothing_is_left()

    def _work(self) -> None:
        queue = self.queues["one"]
        for target in (PLAIN.target, PINNED.target):
            while taken := queue.take_over(target, 8, []):
                self._settle(taken, "succeeded")
            while taken := queue.claim(target, 8).images:
                lost = queue.start(taken)
                self._settle([image for image in taken if image.key not in lost], "succeeded")
                self.duties.run_due()
        self.duties.run_due()

    def _lanes(self) -> int:
        return sum(self.link.client.xlen(stream) for stream in self.link.streams())

    def nothing_is_left(self) -> None:
        kept = ("sl:attended", "sl:gone", "sl:idempotency:", "sl:lane:", "sl:rate:", "sl:ring:", "test:")
        left = {key for key in self.link.client.keys("*") if not key.startswith(kept)}
        assert left <= {"sl:metrics", "sl:open", "sl:models", "sl:tidied"}
        assert [path for path in self.folder.rglob("*") if path.is_file() and path.name != "check"] == []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], QueueMachine]]:
    replace_clock(monkeypatch)
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    link = PairedLink(server.url)
    settings = Settings(
        redis_url=server.url,
        blob_url=str(tmp_path / "blobs"),
        batch_rows=1,
        lease_seconds=LEASE,
        upload_grace_seconds=GRACE,
        retention_seconds=RETENTION,
        max_waiting_images=60,
        folder_roots=(tmp_path,),
        failure_least=3,
        max_waiting_images_per_key=20,
    )
    yield lambda: QueueMachine(link, settings)
    link.close()
    server.kill()


def test_the_queue_in_any_order(machine: Callable[[], QueueMachine]) -> None:
    """Whatever front ends, workers, deaths and time do, Redis and the plain model agree and every job ends."""
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # hypothesis takes any function that makes a machine
        settings=hypothesis_settings(
            max_examples=int(EXAMPLES or 50),
            derandomize=not EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
