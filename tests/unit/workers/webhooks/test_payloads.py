"""Bodies stay bounded, whatever is in the job, and say what was left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workers.jobs.document import JobDocument, job_document, urls_at
from workers.jobs.job import Estimate, Job, JobState
from workers.jobs.options import JobOptions
from workers.results.labels import Labels
from workers.webhooks.payloads import (
    MAX_BATCH_BYTES,
    MAX_BYTES,
    baidu_batch_text,
    baidu_text,
    envelope,
    item_data,
    job_data,
)

ID = "job_" + "0" * 32
COUNTS: dict[str, Any] = {"queued": 0, "running": 0, "failed": 0, "canceled": 0}


def job(total: int = 1, **metadata: str) -> JobDocument:
    made = Job(
        ID,
        JobOptions("m"),
        JobState.SUCCEEDED,
        "bulk",
        total,
        succeeded=total,
        created_at=1.0,
        metadata=metadata,
        **COUNTS,
    )
    return job_document(made, urls_at("https://api.example/", ID), Estimate(None, None))


def result(detections: int, label: str = "商品", index: int = 0) -> dict[str, Any]:
    box = {"ymin": 1.5, "xmin": 2.5, "ymax": 100.25, "xmax": 200.75}
    detection = {"label": label, "score": 0.5, "box": box, "box_normalized": box}
    return {"index": index, "name": "a.jpg", "state": "succeeded", "detections": [detection] * detections}


@pytest.mark.parametrize("detections", [0, 1, 50, 10_000])
def test_a_result(detections: int) -> None:
    """The best detections that there is room for, and how many there was none for; the links are absolute."""
    text = envelope("item.finished", "2026-01-01T00:00:00.000Z", item_data(result(detections), job()))
    data = json.loads(text)["data"]

    assert len(text.encode()) <= MAX_BYTES
    assert len(data["detections"]) + data.get("detections_left_out", 0) == detections
    assert data["urls"]["item"] == f"https://api.example/v1/jobs/{ID}/items/0"
    if detections == 10_000:
        assert len(text.encode()) > MAX_BYTES * 0.9


def test_a_result_without_detections() -> None:
    """A failed image is told as it is."""
    failed = {"index": 3, "name": "b", "state": "failed", "error": {"code": "x", "detail": "y", "retryable": False}}

    assert item_data(failed, job()).items() >= failed.items()


def test_a_job_with_much_metadata() -> None:
    """Then it is left out, whole."""
    small, large = job(a="b"), job(1, **{f"key{number}": "漢" * 512 for number in range(16)})

    assert job_data(small) == small.model_dump(mode="json")
    data = job_data(large)
    assert (data["metadata"], data["metadata_left_out"]) == ({}, True)
    assert len(envelope("job.finished", "", data).encode()) < MAX_BYTES


@pytest.mark.parametrize("detections", [0, 3, 10_000])
def test_the_robots_body(detections: int) -> None:
    """As documented: no field more, and `resultNum` counts what is there."""
    text = baidu_text(result(detections), ID, Labels())
    body = json.loads(text)

    assert len(text.encode()) <= MAX_BYTES
    assert list(body) == ["requestId", "result", "resultNum", "filterThreshold", "extInfos"]
    assert body["resultNum"] == len(body["result"])
    assert (body["requestId"], body["extInfos"]) == (f"{ID}/0", {})


def test_all_bodies_of_a_large_job() -> None:
    """As many as there is room for, in order, and where the rest is."""
    text = baidu_batch_text((result(20, index=index) for index in range(2000)), job(2000), Labels())
    body = json.loads(text)

    assert MAX_BATCH_BYTES * 0.9 < len(text.encode()) <= MAX_BATCH_BYTES
    assert [entry["requestId"] for entry in body["results"]] == [f"{ID}/{index}" for index in range(body["resultNum"])]
    assert body["extInfos"]["left_out"] == 2000 - body["resultNum"]
    assert body["extInfos"]["results"].startswith("https://api.example/")
