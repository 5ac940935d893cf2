"""Answers of a model that its contract does not allow: they fail their images, and are neither kept nor waited for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.client import ModelClient
from serving.errors import ContractError, RowsRejectedError
from tests.integration.workers.conftest import Worker, photo, plain
from tests.support.models import tiny_contract
from tests.support.servers.scripted_server import ScriptedServer
from workers.telemetry.counters import take_counted

Images = NDArray[np.uint8]
Outputs = dict[str, NDArray[Any]]
BOX = [0.1, 0.2, 0.5, 0.6]
WHITE = plain(255)
MOST = tiny_contract().max_detections
MANY = 800_000  # detections of 24 bytes, more than a connection takes

WRONG = {
    "more than the contract allows": ([BOX] * (MOST + 1), "num_detections is not within 0..4"),
    "ymax before ymin": ([[0.5, 0.2, 0.1, 0.6]], "ends before it begins"),
    "xmax before xmin": ([BOX, [0.1, 0.6, 0.5, 0.2]], "ends before it begins"),
    "more bytes than the contract allows": ([BOX] * 20_000, "bytes; the contract allows"),
    "more bytes than a connection takes": ([BOX] * MANY, "larger than the contract allows"),
}


def with_boxes(images: Images, boxes: list[list[float]]) -> Outputs:
    """The same detections for each row."""
    rows, count = len(images), len(boxes)
    return {
        "detection_boxes": np.tile(np.array(boxes, np.float32).reshape(1, count, 4), (rows, 1, 1)),
        "detection_scores": np.full((rows, count), 0.9, np.float32),
        "detection_classes": np.ones((rows, count), np.float32),
        "num_detections": np.full(rows, count, np.float32),
    }


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_fails_its_image_alone(worker: Worker, server: ScriptedServer, wrong: str) -> None:
    """As a rejected row does: the batch is split, and the others get their results."""
    boxes, said = WRONG[wrong]

    def answer(images: Images) -> Outputs | None:
        return with_boxes(images, boxes) if (images.min(axis=(1, 2, 3)) == 255).any() else None

    server.answer = answer
    job = worker.submit(photo(1), WHITE, photo(3))
    worker.detect()
    results = worker.results(job)
    assert [result["state"] for result in results] == ["succeeded", "failed", "succeeded"]
    assert results[1]["error"]["code"] == "model_error"
    assert said in results[1]["error"]["detail"]


def test_boxes_without_area_are_left_out_and_counted(worker: Worker, server: ScriptedServer) -> None:
    """Also those that lie outside of the photo, which are clipped to it."""
    boxes = [[0.5, 0.2, 0.5, 0.6], BOX, [0.1, 0.6, 0.5, 0.6], [1.1, 0.2, 1.4, 0.6]]
    server.answer = lambda images: with_boxes(images, boxes)
    take_counted()
    job = worker.submit(photo(1), photo(2))
    worker.detect()
    assert [len(result["detections"]) for result in worker.results(job)] == [1, 1]
    assert take_counted()['["shelfline_no_area_total","default","1"]'] == 6


@pytest.mark.parametrize("named", [("default", 2), ("other", 1)])
def test_an_answer_of_another_model_or_version(server: ScriptedServer, named: tuple[str, int]) -> None:
    """It is not taken for the answer of the one that was asked, nor its contract for that one's."""
    client = ModelClient(server.target)
    served = client.describe("default")
    rows = np.zeros((1, 32, 32, 3), np.uint8)
    assert len(client.detect(served, rows)) == 1
    server.answered_as = named
    with pytest.raises(RowsRejectedError, match=f"{named[0]} version {named[1]} answered; default version 1 was asked"):
        client.detect(served, rows)
    with pytest.raises(ContractError, match="was asked for"):
        client.describe("default", 1)
    client.close()
