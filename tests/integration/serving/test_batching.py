"""Server-side batching on a real server: 64 clients, a full queue, a request that is too large."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from serving.wire.protos import PredictResponse
from serving.wire.tensors import decode, encode_request
from tests.support.polling import wait_until
from tests.support.servers.model_server import MARKER, random_images

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLIENTS = 64
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def ask(target: str, model: str, images: NDArray[np.uint8], timeout: float = 120) -> tuple[str, Any]:
    """The code of a call of `detect` over a connection of its own, and the boxes or the message."""
    with grpc.insecure_channel(target, options=OWN_CONNECTION) as channel:
        request = encode_request(model, "detect", {"images": images})
        call = channel.unary_unary(PREDICT, None, None).future(request, timeout=timeout)
        if call.code() is not grpc.StatusCode.OK:
            return call.code().name, call.details()
        return "OK", decode(PredictResponse.FromString(call.result()).outputs["detection_boxes"])


def ask_until_taken(target: str, images: NDArray[np.uint8]) -> tuple[str, Any]:
    """The same of the model `default`, asked again while the queue is full: on a busy machine batches are small."""
    answers: list[tuple[str, Any]] = []

    def taken() -> bool:
        answers.append(ask(target, "default", images))
        return answers[-1][0] != "UNAVAILABLE"

    wait_until(taken, what="room in the queue")
    return answers[-1]


def counted(whole: Any, name: str) -> float:
    """A number of the metrics page."""
    page = httpx.get(f"{whole.rest}/monitoring/prometheus/metrics").text
    match = re.search(rf"^:tensorflow:serving:batching_session:{name}{{}} (\S+)$", page, re.MULTILINE)
    return float(match[1]) if match else 0.0


@pytest.mark.process
def test_64_clients_of_one_image_each(whole: Any) -> None:
    """Everyone gets the answer to its own image, and there are fewer batches than clients."""
    images = random_images(CLIENTS)
    alone = [ask(whole.target, "default", images[number : number + 1]) for number in range(CLIENTS)]
    before = counted(whole, "processed_batch_size_count")
    with ThreadPoolExecutor(CLIENTS) as pool:
        together = list(
            pool.map(lambda number: ask_until_taken(whole.target, images[number : number + 1]), range(CLIENTS))
        )

    assert [code for code, _ in together] == ["OK"] * CLIENTS
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(alone, together, strict=True))
    assert 0 < counted(whole, "processed_batch_size_count") - before < CLIENTS


def test_a_full_queue_refuses_at_once(whole: Any) -> None:
    """What fits is answered; the rest is told how full it is, and may come again."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda _: ask(whole.target, "slow", random_images(1)), range(CLIENTS)))

    codes = Counter(code for code, _ in answers)
    assert set(codes) == {"OK", "UNAVAILABLE"}
    assert codes["OK"] >= 4 * 8
    assert {message for code, message in answers if code == "UNAVAILABLE"} == {
        (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 4 batches enqueued and max_enqueued_batches is 4"
        )
    }
    assert ask(whole.target, "slow", random_images(1))[0] == "OK"


@pytest.mark.parametrize("rows", [9, 32])
def test_a_request_larger_than_a_batch_is_refused(whole: Any, rows: int) -> None:
    """It would never fit."""
    assert ask(whole.target, "default", random_images(rows)) == (
        "INVALID_ARGUMENT",
        f"Task size {rows} is larger than maximum input batch size 8",
    )


def test_padding_does_not_show(whole: Any) -> None:
    """Three rows run as four, and three come back."""
    before = counted(whole, "processed_batch_size_sum")
    code, boxes = ask(whole.target, "default", random_images(3))

    assert (code, len(boxes)) == ("OK", 3)
    assert counted(whole, "processed_batch_size_sum") - before == 4


def test_other_models_do_not_wait_behind_a_full_queue(whole: Any) -> None:
    """Each model has queues of its own, and its turn."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        slow = [pool.submit(ask, whole.target, "slow", random_images(1)) for _ in range(CLIENTS)]
        code, _ = ask(whole.target, "default", random_images(1), timeout=180)

        assert code == "OK"
        assert {call.result()[0] for call in slow} <= {"OK", "UNAVAILABLE"}


def test_a_bad_image_fails_its_batch_and_no_more(whole: Any) -> None:
    """A merged batch has one status, as in TF Serving; the next batches are answered."""
    bad = random_images(1)
    bad[0, 0, 0] = MARKER
    good = random_images(1, seed=1)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: ask_until_taken(whole.target, good if number else bad), range(CLIENTS)))
    codes = Counter(code for code, _ in answers)

    assert answers[0][0] == "INVALID_ARGUMENT"
    assert "marked image in the batch" in answers[0][1]
    assert set(codes) == {"OK", "INVALID_ARGUMENT"}
    assert 1 <= codes["INVALID_ARGUMENT"] <= 8
