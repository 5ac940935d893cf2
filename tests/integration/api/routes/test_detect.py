"""`POST /v1/detect` on the API as it is run, a real worker, and a model that is as slow as a test wants."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.workers.conftest import photo
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontStack]:
    with front_stack(redis_server, tmp_path_factory.mktemp("stack"), SHELFLINE_MAX_IMAGE_BYTES="1000000") as stack:
        yield stack


def _detect(stack: FrontStack, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        f"{stack.url}/v1/detect{query}", content=content, headers={"Content-Type": "image/png"} | named, timeout=180
    )


def test_every_way_to_send_an_image(stack: FrontStack) -> None:
    """A form, a raw body of either kind and JSON answer alike, and as the job says that they name."""
    content = photo(1)
    answers = [
        httpx.post(f"{stack.url}/v1/detect", files={"image": ("a.png", content)}, timeout=180),
        _detect(stack, content),
        _detect(stack, content, Content_Type="application/octet-stream"),
        httpx.post(f"{stack.url}/v1/detect", json={"image": base64.b64encode(content).decode()}, timeout=180),
    ]

    for answer, name in zip(answers, ("a.png", "image", "image", "item-0"), strict=True):
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert (result["name"], result["width"], result["height"], result["model_version"]) == (name, 32, 32, 1)
        assert [detection["box"] for detection in result["detections"]] == [
            {"ymin": 3.2, "xmin": 6.4, "ymax": 16.0, "xmax": 19.2}
        ]
        job = httpx.get(result["urls"]["self"]).json()
        assert (job["id"], job["state"], job["lane"]) == (result["job_id"], "succeeded", "interactive")
        stored = httpx.get(result["urls"]["results"]).json()
        assert stored == {name: value for name, value in result.items() if name not in {"job_id", "urls"}}


def test_options(stack: FrontStack) -> None:
    """They narrow the answer, from the query of a raw body and from a form alike; a wrong one is named."""
    assert _detect(stack, photo(1), "?min_score=0.95").json()["detections"] == []
    form: dict[str, Any] = {"files": {"image": photo(1)}, "data": {"min_score": "0.95"}, "timeout": 60}
    assert httpx.post(f"{stack.url}/v1/detect", **form).json()["detections"] == []
    wrong = _detect(stack, photo(1), "?min_score=2")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")
    unknown = _detect(stack, photo(1), "?model=other")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_model")


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_drawn_picture(stack: FrontStack, kind: str) -> None:
    """With that Accept the answer is the picture, upright and in its own size, with the box on it."""
    out = io.BytesIO()
    Image.new("RGB", (400, 300), "white").save(out, "PNG")

    answer = _detect(stack, out.getvalue(), Accept=f"image/{kind}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"image/{kind}")
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    assert picture.size == (400, 300)
    assert picture.getpixel((200, 200)) == (255, 255, 255)
    edge = np.asarray(picture)[100, 70:90]  # the box begins at 0.2 of 400 pixels
    assert edge.min() < 200, edge


def test_an_image_that_fails_has_its_own_problem(stack: FrontStack) -> None:
    """What would be an error inside a job is the answer here, and names the job."""
    answers = [
        (_detect(stack, b"no picture"), 422, "unsupported_format"),
        (_detect(stack, photo(1)[:60]), 422, "image_decode_failed"),
        (_detect(stack, b""), 422, "image_decode_failed"),
        (_detect(stack, b"x" * 1_000_001), 413, "request_too_large"),
    ]
    for answer, status, code in answers:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert httpx.get(f"{stack.url}/v1/jobs/{answers[0][0].json()['job_id']}").json()["state"] == "failed"


def test_a_url_that_leads_inside_is_refused(stack: FrontStack) -> None:
    """The worker fetches it, from public addresses only; the caller is told why there is no result."""
    answer = httpx.post(f"{stack.url}/v1/detect", json={"url": f"{stack.url}/v1/models"}, timeout=180)

    assert answer.json()["code"] == "fetch_blocked"
    assert 400 <= answer.status_code < 500


def test_several_images_are_refused(stack: FrontStack) -> None:
    """The answer says where to send them."""
    files = [("image", ("a.png", photo(1))), ("image", ("b.png", photo(2)))]
    answer = httpx.post(f"{stack.url}/v1/detect", files=files)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "/v1/jobs" in answer.json()["detail"]


def test_what_is_not_done_in_time_goes_on_as_a_job(stack: FrontStack) -> None:
    """202 names the job after the time that was asked for; its result is there once the model answers."""
    stack.model.go.clear()
    began = time.monotonic()

    answer = _detect(stack, photo(3), Prefer="wait=1")

    assert time.monotonic() - began >= 1
    assert (answer.status_code, answer.json()["object"]) == (202, "job")
    assert answer.headers["Location"] == answer.json()["urls"]["self"]
    assert int(answer.headers["Retry-After"]) >= 1
    stack.model.go.set()
    job = httpx.get(f"{answer.headers['Location']}?wait=30", timeout=180).json()
    assert job["state"] == "succeeded"


def test_nobody_waits_who_does_not_want_to(stack: FrontStack) -> None:
    """With `wait=0` the answer is 202 at once."""
    stack.model.go.clear()

    assert _detect(stack, photo(3), "?wait=0").status_code == 202


def test_a_wait_that_is_not_worth_while_is_refused(stack: FrontStack) -> None:
    """Where the measured speed says that it would not be done in time, nothing is accepted: 503, and when to come."""
    jobs = stack.redis.zcard("sl:jobs")
    stack.model.go.clear()
    _detect(stack, photo(4), "?wait=0")  # one image is ahead
    stack.redis.hset("sl:rate:default", mapping={"rows": "1", "ms": "20000"})  # 20 s an image

    answer = _detect(stack, photo(3), Prefer="wait=5")

    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "wait_too_long", True)
    assert answer.headers["Retry-After"] == "15"
    assert stack.redis.zcard("sl:jobs") == jobs + 1
    assert _detect(stack, photo(3), "?wait=0").status_code == 202  # who does not wait is not refused


def test_a_call_sent_again_is_the_same_job(stack: FrontStack) -> None:
    """With an Idempotency-Key the second call answers with the first one's result, and the model is not asked."""
    first = _detect(stack, photo(5), Idempotency_Key="once")
    batches = len(stack.model.batches)
    again = _detect(stack, photo(5), Idempotency_Key="once")
    other = _detect(stack, photo(6), Idempotency_Key="once")

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert len(stack.model.batches) == batches
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_calls_at_the_same_time_share_batches(stack: FrontStack) -> None:
    """Images of different callers go through the model together, and each caller has its own answer."""
    stack.model.go.clear()
    held = threading.Thread(target=_detect, args=(stack, photo(0)))
    held.start()
    wait_until(lambda: stack.model.batches, what="the model's first call")
    answers: dict[int, httpx.Response] = {}

    def call(seed: int) -> None:
        answers[seed] = _detect(stack, photo(seed))

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(1, 13)]
    for caller in callers:
        caller.start()
    wait_until(lambda: stack.redis.hget("sl:open", "images") == "13", what="every image's acceptance")
    stack.model.go.set()
    for thread in (held, *callers):
        thread.join()

    assert {seed: answer.status_code for seed, answer in answers.items()} == dict.fromkeys(range(1, 13), 200)
    assert max(stack.model.batches) > 1
    for seed, answer in answers.items():
        colour = Image.open(io.BytesIO(photo(seed))).getpixel((0, 0))
        assert isinstance(colour, tuple)
        assert answer.json()["detections"][0]["label"] == f"product-{sum(colour) * 32 * 32 % 5 + 1}"
