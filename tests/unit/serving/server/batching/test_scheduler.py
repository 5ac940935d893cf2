from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.server.batching.scheduler import BatchedModel, BatchScheduler
from serving.server.batching.settings import BatchSettings
from serving.server.errors import StatusError, invalid_argument
from serving.server.metrics import Metrics
from serving.wire.protos import ProtoMessage, SignatureDef
from tests.support.polling import wait_until


class Doubling:
    """A version that doubles its input once its gate is open, and remembers how it was called."""

    def __init__(self) -> None:
        signature = SignatureDef(inputs={"x": {"name": "x:0"}}, outputs={"y": {"name": "y:0"}, "z": {"name": "z:0"}})
        self.signatures: dict[str, ProtoMessage] = {"serving_default": signature}
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.is_closed = False

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        assert deadline is None or deadline > 0
        self.calls.append(feeds["x:0"].tolist())
        assert self.gate.wait(30)
        if (feeds["x:0"] < 0).any():
            raise invalid_argument("negative")
        by_name = {"y:0": feeds["x:0"] * 2, "z:0": feeds["x:0"] * 3}
        by_name |= {"scalar:0": feeds["x:0"].sum(), "first:0": feeds["x:0"][:1]}
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads of callers."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def batched(model: Doubling, **settings: Any) -> BatchedModel:
    """The model behind one batching thread."""
    return BatchedModel(model, BatchScheduler(BatchSettings(num_batch_threads=1, **settings), Metrics()))


def ask(pool: ThreadPoolExecutor, model: BatchedModel, *values: int, **options: Any) -> Future[list[NDArray[Any]]]:
    """A call that waits in a thread of its own."""
    return pool.submit(model.run, {"x:0": np.array(values)}, ["z:0", "y:0"], **options)


def held_up(pool: ThreadPoolExecutor, model: Doubling, served: BatchedModel) -> Future[list[NDArray[Any]]]:
    """A call that keeps the one thread busy until the gate opens: what comes now waits."""
    first = ask(pool, served, 1)
    wait_until(lambda: model.calls)
    return first


def waiting(model: BatchedModel) -> int:
    """How many calls wait for a batch."""
    return sum(len(batch.tasks) for queue in model._scheduler._queues.values() for batch in queue._batches)


def test_what_waits_meanwhile_is_one_batch(pool: ThreadPoolExecutor) -> None:
    """Each call gets its own part, its outputs in the order it asked for."""
    model = Doubling()
    served = batched(model)
    first = held_up(pool, model, served)
    calls = [ask(pool, served, 10 * number, 10 * number + 1) for number in range(4)]
    wait_until(lambda: waiting(served) == 4)
    model.gate.set()

    assert [array.tolist() for array in first.result(30)] == [[3], [2]]
    for number, call in enumerate(calls):
        values = np.array([10 * number, 10 * number + 1])
        assert [array.tolist() for array in call.result(30)] == [(values * 3).tolist(), (values * 2).tolist()]
    assert len(model.calls) == 2


def test_a_batch_has_one_status(pool: ThreadPoolExecutor) -> None:
    """Its neighbours fail with the bad one; the next batch does not."""
    model = Doubling()
    served = batched(model, max_batch_size=2)
    held_up(pool, model, served)
    bad = ask(pool, served, -1)
    wait_until(lambda: waiting(served) == 1)
    neighbour = ask(pool, served, 1)
    wait_until(lambda: waiting(served) == 2)
    next_one = ask(pool, served, 2, 3)
    wait_until(lambda: waiting(served) == 3)
    model.gate.set()

    for call in (bad, neighbour):
        with pytest.raises(StatusError, match="negative"):
            call.result(30)
    assert next_one.result(30)[1].tolist() == [4, 6]


def test_a_batch_is_padded_to_an_allowed_size(pool: ThreadPoolExecutor) -> None:
    """With the first row of its last request."""
    model = Doubling()
    model.gate.set()
    served = batched(model, max_batch_size=4, allowed_batch_sizes=(1, 4))

    assert ask(pool, served, 7, 8).result(30)[1].tolist() == [14, 16]
    assert ask(pool, served, 9).result(30)[1].tolist() == [18]
    assert model.calls == [[7, 8, 7, 7], [9]]


def test_other_shapes_in_a_batch_fail_it(pool: ThreadPoolExecutor) -> None:
    """As TF Serving's batches do."""
    model = Doubling()
    served = batched(model)
    held_up(pool, model, served)
    calls = [pool.submit(served.run, {"x:0": np.ones((1, width))}, ["y:0", "z:0"]) for width in (2, 3)]
    wait_until(lambda: waiting(served) == 2)
    model.gate.set()

    for call in calls:
        with pytest.raises(StatusError, match="different shapes and padding is turned off"):
            call.result(30)


def test_calls_for_some_outputs_are_batched_too(pool: ThreadPoolExecutor) -> None:
    """With those that ask for the same outputs, in whatever order, and with nobody else."""
    model = Doubling()
    served = batched(model)
    held_up(pool, model, served)
    wanted = (["y:0"], ["y:0", "y:0"], ["z:0"], ["y:0", "z:0"], ["z:0", "y:0"])
    calls = []
    for value, outputs in enumerate(wanted, start=2):
        calls.append(pool.submit(served.run, {"x:0": np.array([value])}, outputs))
        wait_until(lambda: waiting(served) == len(calls))
    model.gate.set()

    answers = [[array.tolist() for array in call.result(30)] for call in calls]
    assert answers == [[[4]], [[6], [6]], [[12]], [[10], [15]], [[18], [12]]]
    assert sorted(model.calls) == [[1], [2, 3], [4], [5, 6]]


def test_a_call_for_some_outputs_may_be_too_large(pool: ThreadPoolExecutor) -> None:
    """As one for all of them."""
    model = Doubling()
    served = batched(model, max_batch_size=1)
    with pytest.raises(StatusError, match="Task size 3 is larger than maximum input batch size 1"):
        pool.submit(served.run, {"x:0": np.array([1, 2, 3])}, ["y:0"]).result(30)

    assert model.calls == []


def test_an_output_without_the_batch_is_refused(pool: ThreadPoolExecutor) -> None:
    """Even if a single call is the whole batch."""
    model = Doubling()
    model.gate.set()
    served = batched(model)
    for name, message in (("scalar:0", "has 0 dimensions"), ("first:0", "0th dimension does not equal")):
        with pytest.raises(StatusError, match=message) as error:
            pool.submit(served.run, {"x:0": np.array([1, 2, 3])}, [name]).result(30)
        assert error.value.code.name == "FAILED_PRECONDITION"


def test_a_large_call_is_split_if_that_is_asked_for(pool: ThreadPoolExecutor) -> None:
    """Its first rows fill the batch that waits; the caller gets all rows in order."""
    model = Doubling()
    served = batched(model, max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=3)
    held_up(pool, model, served)
    small = ask(pool, served, 10, 11)
    wait_until(lambda: waiting(served) == 1)
    large = ask(pool, served, *range(20, 27))
    wait_until(lambda: waiting(served) == 4)
    model.gate.set()

    assert small.result(30)[1].tolist() == [20, 22]
    assert large.result(30)[1].tolist() == [2 * value for value in range(20, 27)]
    assert model.calls == [[1], [10, 11, 20], [21, 22, 23], [24, 25, 26]]
    with pytest.raises(StatusError, match="Task size 9 is larger than maximum input batch size 8"):
        ask(pool, served, *range(9)).result(30)


def test_a_bad_part_fails_the_whole_call(pool: ThreadPoolExecutor) -> None:
    """A caller gets all rows or an error."""
    model = Doubling()
    model.gate.set()
    served = batched(model, max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=2)
    with pytest.raises(StatusError, match="negative"):
        ask(pool, served, 1, 2, 3, -4, 5).result(30)


def test_nobody_computes_for_those_who_gave_up(pool: ThreadPoolExecutor) -> None:
    """Where all of a batch did: one that still waits has its neighbours run with it."""
    model = Doubling()
    served = batched(model)
    held_up(pool, model, served)
    late = ask(pool, served, 5, deadline=time.monotonic() - 1)
    wait_until(lambda: waiting(served) == 1)
    model.gate.set()
    with pytest.raises(StatusError, match=r"Run\(\) timeout exceeded while waiting in batching queue") as error:
        late.result(30)

    assert error.value.code.name == "RESOURCE_EXHAUSTED"
    assert [5] not in model.calls


def test_a_model_that_breaks_tells_those_who_wait(pool: ThreadPoolExecutor) -> None:
    """And the thread lives on."""
    model = Doubling()
    model.gate.set()
    served = batched(model)
    with pytest.raises(TypeError):
        pool.submit(served.run, {"x:0": np.array([object()])}, ["y:0", "z:0"]).result(30)

    assert ask(pool, served, 1).result(30)[1].tolist() == [2]


def test_a_model_leaves_no_queue_behind(pool: ThreadPoolExecutor) -> None:
    """Its memory is free, and the scheduler does not know it any more."""
    model = Doubling()
    model.gate.set()
    served = batched(model)
    ask(pool, served, 1).result(30)
    served.close()

    assert model.is_closed
    assert served._scheduler._queues == {}
