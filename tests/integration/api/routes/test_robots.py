"""Robots against the API as it is run: gunicorn, Redis, a worker, a scripted model; concurrent, limited, logged."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.contract import Label
from tests.support.models import tiny_contract
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack
from tests.support.stacks.web_server import sent_raw, web_server
from workers.robots import FORM_UPLOAD_PATH

ROBOTS = 50
ACCESS = "a-token-that-nobody-guesses"
PATH, LOCKED, HURRIED, LIMITED = "/api/v3/prediction/commodity", "/api/v3/locked", "/api/v3/hurried", "/api/v3/limited"
SETTING = [
    {"deadline_seconds": 60},
    {"path": LOCKED, "token": ACCESS, "threshold": 0.95, "deadline_seconds": 60},
    {"path": HURRIED, "deadline_seconds": 1},
    {"path": LIMITED, "rate": "2/hour", "deadline_seconds": 60},
]
# The scripted model answers classes 1 to 5 by an image's sum; 5 has no label here.
CONTRACT = tiny_contract().model_copy(
    update={
        "labels": tuple(
            Label(id=label_id, name=f"product-{label_id}", root=f"商品-{label_id}") for label_id in range(1, 5)
        )
    }
)
LOGGED = "--access-logfile - --log-level debug"


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("robots")


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, folder: Path) -> Iterator[FrontStack]:
    settings = {"SHELFLINE_ROBOTS": json.dumps(SETTING), "GUNICORN_CMD_ARGS": LOGGED}
    with front_stack(redis_server, folder, CONTRACT, **settings) as stack:
        yield stack


def photo(red: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (red, 0, 0)).save(out, "PNG")
    return out.getvalue()


def label(red: int) -> str:
    number = red * 32 * 32 % 5 + 1
    return f"product-{number}" if number < 5 else "class 5"


def call(stack: FrontStack, red: int = 1, path: str = PATH, content: bytes | None = None, **more: Any) -> Any:
    sent = {"requestId": f"r-{red}", "image": base64.b64encode(content or photo(red)).decode(), **more}
    answer = httpx.post(stack.url + path, json=sent, timeout=180)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json()


def test_the_answer_and_its_job(stack: FrontStack) -> None:
    """What the robot is told is what its job holds; a class without a label has no category path."""
    for red in range(5):
        answer = call(stack, red)
        number = label(red)[-1]
        root = "" if number == "5" else f"商品-{number}"
        assert answer == {
            "requestId": f"r-{red}",
            "result": [{"score": 0.9, "root": root, "keyword": label(red)}],
            "resultNum": 1,
            "filterThreshold": 0.1,
            "extInfos": {},
        }
    job = httpx.get(f"{stack.url}/v1/jobs?limit=1").json()["data"][0]
    assert (job["lane"], job["counts"]["succeeded"]) == ("interactive", 1)
    line = httpx.get(job["urls"]["results"], params={"format": "baidu"}).json()
    assert line == call(stack, 4)


def test_nothing_found_and_nothing_good_enough(stack: FrontStack) -> None:
    """Both are an empty result; the threshold is the robot's own where it is above the model's."""
    answer = call(stack, 1, f"{LOCKED}?access_token={ACCESS}")

    assert answer == {"requestId": "r-1", "result": [], "resultNum": 0, "filterThreshold": 0.95, "extInfos": {}}


def test_what_only_the_worker_sees(stack: FrontStack) -> None:
    """An image that is cut off, and one that needs more than there is."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(out, "JPEG")
    assert call(stack, content=out.getvalue()[:900])["error_code"] == 216201
    assert call(stack, content=b"no picture")["error_code"] == 216201


def test_ten_megabytes_percent_encoded(stack: FrontStack) -> None:
    """The largest photo that the protocol allows comes through, and one byte more does not."""
    noise = io.BytesIO()
    Image.effect_noise((2200, 1500), 90).convert("RGB").save(noise, "BMP")
    content = noise.getvalue()
    content += bytes((10 << 20) - len(content))
    text = base64.b64encode(content).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")

    assert "result" in call(stack, image=text)
    assert call(stack, content=content + b"x")["error_code"] == 216202


def test_fifty_robots_at_once(stack: FrontStack) -> None:
    """Each has its own answer, and their photos share the model's batches."""
    stack.model.go.clear()
    with ThreadPoolExecutor(ROBOTS + 1) as robots:
        held = robots.submit(call, stack, 0)
        wait_until(lambda: stack.model.batches, what="the model's first call")
        calls = [robots.submit(call, stack, red) for red in range(1, ROBOTS + 1)]
        wait_until(lambda: stack.redis.hget("sl:open", "images") == str(ROBOTS + 1), what="every photo's acceptance")
        stack.model.go.set()
        answers = [future.result() for future in calls]

    assert held.result()["resultNum"] == 1
    for red, answer in enumerate(answers, 1):
        assert (answer["requestId"], answer["result"][0]["keyword"]) == (f"r-{red}", label(red))
    assert sum(stack.model.batches) == ROBOTS + 1
    assert len(stack.model.batches) < ROBOTS // 2, stack.model.batches


def test_what_is_not_done_in_time(stack: FrontStack) -> None:
    """The robot is told to come again when its deadline is over; the next one is answered as ever."""
    stack.model.go.clear()
    call(stack, 1, HURRIED)
    began = time.monotonic()
    answer = call(stack, 2, HURRIED)

    assert time.monotonic() - began >= 1
    assert answer == {"error_code": 2, "error_msg": "Service temporarily unavailable", "requestId": "r-2"}
    stack.model.go.set()
    assert "result" in call(stack, 3)


def test_a_queue_that_is_too_long(stack: FrontStack) -> None:
    """Where the measured speed says so, nothing is accepted."""
    stack.model.go.clear()
    jobs = stack.redis.zcard("sl:jobs")
    waiting = threading.Thread(target=call, args=(stack, 1))
    waiting.start()
    wait_until(lambda: stack.redis.hget("sl:open", "images") == "1", what="the first photo's acceptance")
    stack.redis.hset("sl:rate:default", mapping={"rows": "1", "ms": "20000"})  # 20 s a photo

    assert call(stack, 2, HURRIED)["error_code"] == 2
    assert stack.redis.zcard("sl:jobs") == jobs + 1
    stack.model.go.set()
    waiting.join()


def test_a_model_that_is_gone(stack: FrontStack) -> None:
    """Code 2 at the deadline; once it is back, so are the answers."""
    stack.model.stop()
    try:
        assert call(stack, 1, HURRIED)["error_code"] == 2
    finally:
        stack.model.start()
    wait_until(lambda: "result" in call(stack, 1), what="an answer")


def test_a_rate(stack: FrontStack) -> None:
    """Two an hour, counted in Redis; the third has code 18."""
    codes = [call(stack, number, LIMITED).get("error_code") for number in range(3)]

    assert codes == [None, None, 18]


def test_no_log_and_no_answer_holds_a_token(stack: FrontStack, folder: Path) -> None:
    """The access log is on, and everything is logged: right and wrong tokens, in whatever request they come."""
    wrong = "another-that-is-" + "w" * 9
    answers = ""
    for token in (ACCESS, wrong):
        for path in (LOCKED, PATH, "/v1/jobs", "/nothing", f"{LOCKED}/x"):
            for method in ("GET", "POST"):
                address = f"{stack.url}{path}?access_token={token}"
                sent = httpx.request(method, address, headers={"Referer": address}, json={})
                answers += str(sent.headers) + sent.text
        lines = (
            f"POST {LOCKED}?access_token={token} HTTP/9.9\r\n\r\n",
            f"GET /?access%5ftoken={token} x HTTP/1.1\r\n\r\n",
        )
        answers += "".join(sent_raw(stack.url, line) for line in lines)
    assert "result" in call(stack, 1, f"{LOCKED}?access_token={ACCESS}")

    log = (folder / "web.log").read_text(errors="replace")
    assert f"POST {LOCKED}?access_token=***" in log
    assert [token for token in (ACCESS, wrong) if token in log + answers + (folder / "worker.log").read_text()] == []
    jobs = [str(job) for job in stack.redis.zrange("sl:jobs", 0, -1)]
    stored = "".join(str(stack.redis.hgetall(f"sl:job:{job}")) for job in jobs)
    assert ACCESS not in stored


def test_a_body_that_breaks_off(stack: FrontStack) -> None:
    """What ends too early is no JSON object."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"

    assert json.loads(sent_raw(stack.url, head + '{"requestId"').rpartition("\r\n\r\n")[2])["error_code"] == 100


def test_the_course(stack: FrontStack) -> None:
    """The picture comes back with a box drawn where the model found something."""
    out = io.BytesIO()
    Image.new("RGB", (400, 300), "white").save(out, "PNG")
    answer = httpx.post(stack.url + FORM_UPLOAD_PATH, files={"image": ("a.png", out.getvalue())}, timeout=180)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    assert picture.size == (400, 300)
    assert np.asarray(picture)[100, 70:90].min() < 200  # the box begins at 0.2 of 400 pixels


def test_without_a_store(tmp_path: Path) -> None:
    """While Redis is away the robot is told to come again; a wrong token is a wrong token."""
    robots = json.dumps([{"token": ACCESS}])
    with web_server("redis://127.0.0.1:9/0", tmp_path / "blobs", SHELFLINE_ROBOTS=robots) as (host, port):
        url = f"http://{host}:{port}{PATH}"
        sent = {"requestId": "r-1", "image": base64.b64encode(photo(1)).decode()}
        away = httpx.post(f"{url}?access_token={ACCESS}", json=sent, timeout=180).json()
        wrong = httpx.post(url, json=sent, timeout=180).json()

    assert (away["error_code"], away["requestId"]) == (2, "r-1")
    assert wrong["error_code"] == 110
