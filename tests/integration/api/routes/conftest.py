"""The API on a real Redis, and a worker that settles images in any order."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.support.manual_worker import ManualWorker
from tests.support.polling import wait_until
from tests.support.stacks.front_stack import FrontStack
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.settings import Settings


def photo(width: int = 40, height: int = 30, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (0, 0, 255)).save(out, kind)
    return out.getvalue()


BOX = {"ymin": 4.0, "xmin": 4.0, "ymax": 20.0, "xmax": 24.0}


class Work:
    """Claims images as a worker does, and settles those that it is told, in any order."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        self._worker = ManualWorker(settings, link)
        self.claimed: dict[int, ClaimedImage] = {}

    def claim(self) -> None:
        self.claimed |= {image.index: image for image in self._worker.claim()}

    def settle(self, *indexes: int, state: str = "succeeded", width: int = 40, height: int = 30) -> None:
        if not set(indexes) <= set(self.claimed):
            self.claim()
        result: dict[str, Any] = {"error": {"code": "image_decode_failed", "detail": "Damaged.", "retryable": False}}
        if state == "succeeded":
            result = {"width": width, "height": height, "model": "default", "model_version": 1}
            result["detections"] = [{"label": "cola", "score": 0.5, "box": BOX}]
        for index in indexes:
            self._worker.settle(self.claimed.pop(index), state, **result)
        self._worker.duties.run_due()


@pytest.fixture
def work(settings: Settings, link: RedisLink) -> Work:
    return Work(settings, link)


@pytest.fixture
def submit(http: FlaskClient) -> Callable[..., str]:
    def send(count: int = 1, content: bytes = photo()) -> str:
        files = [(io.BytesIO(content), f"{number}.png") for number in range(count)]
        return str(http.post("/v1/jobs", data={"images": files}).get_json()["id"])

    return send


@pytest.fixture
def quick(stack: FrontStack) -> Iterator[None]:
    """Let the model answer at once after the test, whatever the test made it do, and wait for the end of the work."""
    stack.redis.delete("sl:rate:default")
    yield
    stack.model.go.set()
    stack.model.batches.clear()
    wait_until(lambda: int(stack.redis.hget("sl:open", "images") or 0) == 0, what="the end of the work")
