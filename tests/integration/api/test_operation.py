"""One request followed through all processes: its trace, its log lines, its figures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.polling import wait_until
from tests.support.servers.otlp import Collector
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.api_stack import ApiStack
from tests.support.stacks.web_server import sent_raw

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[ApiStack]:
    """Gunicorn and a worker that log JSON and send traces, on a Redis of their own."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    redis.start()
    stack = ApiStack(
        redis.url,
        folder,
        SHELFLINE_LOG_FORMAT="json",
        SHELFLINE_TRACING="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    stack.start()
    yield stack
    stack.stop()
    redis.kill()


def submitted(stack: ApiStack, count: int = 3, **headers: str) -> str:
    """A job that is over."""
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    files = [("images", (f"{number}.png", picture.getvalue())) for number in range(count)]
    answer = httpx.post(f"{stack.url}/v1/jobs", files=files, headers=headers)
    assert answer.status_code == 202, answer.text
    job = str(answer.json()["id"])
    assert httpx.get(f"{stack.url}/v1/jobs/{job}?wait=30", timeout=180).json()["state"] == "succeeded"
    return job


def logged(stack: ApiStack, event: str) -> list[dict[str, Any]]:
    return [entry for line in stack.log.read_text().splitlines() if (entry := json.loads(line))["event"] == event]


@pytest.mark.process
def test_a_trace_goes_from_the_request_to_the_predict_call(stack: ApiStack, collector: Collector) -> None:
    """The caller's own span, the request's, the way through the queue, the call; and on to the model server."""
    job = submitted(stack, traceparent=f"00-{TRACE}-{CALLER}-01")

    def mine(name: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in collector.named(name) if span.trace_id.hex() == TRACE]

    wait_until(lambda: mine("predict") and mine("POST /v1/jobs"), what="the spans")
    ((web, request),) = mine("POST /v1/jobs")
    waits, calls = mine("queue"), mine("predict")
    attributes = {
        attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in calls[0][1].attributes
    }

    assert (web, request.parent_span_id.hex()) == ("shelfline-web", CALLER)
    for service, span in (*waits, *calls):
        assert (service, span.parent_span_id) == ("shelfline-worker", request.span_id)
        assert span.end_time_unix_nano >= span.start_time_unix_nano >= request.start_time_unix_nano - 1e9
    assert len(waits) == len(calls) >= 1
    assert (attributes["shelfline.job"], attributes["shelfline.model"]) == (job, "default")
    passed_on = {f"00-{TRACE}-{span.span_id.hex()}-01" for _, span in calls}
    assert passed_on <= set(stack.model.traces)


@pytest.mark.process
def test_what_the_caller_does_not_sample_is_not_traced(stack: ApiStack, collector: Collector) -> None:
    """The caller decides, and the model server is told nothing either."""
    trace = "1" * 32
    submitted(stack, traceparent=f"00-{trace}-{CALLER}-00")
    submitted(stack, traceparent=f"00-{'2' * 32}-{CALLER}-01")
    wait_until(lambda: any(span.trace_id.hex() == "2" * 32 for _, span in collector.named("predict")))

    assert [span for _, span in collector.spans if span.trace_id.hex() == trace] == []
    assert [header for header in stack.model.traces if trace in header] == []


@pytest.mark.process
def test_a_request_is_followed_through_the_logs(stack: ApiStack) -> None:
    """By the id that its caller gave it, and the job's: accepted, and done in batches of one line each."""
    job = submitted(stack, 20, **{"X-Request-ID": "order-7"})
    accepted = [line for line in logged(stack, "job accepted") if line["job"] == job]
    batches = [line for line in logged(stack, "batch") if job in line["jobs"]]

    assert [(line["request_id"], line["images"]) for line in accepted] == [("order-7", 20)]
    assert sum(batch["images"] for batch in batches) == 20
    assert all(batch["requests"] == ["order-7"] and batch["jobs"] == [job] for batch in batches)
    assert len({batch["batch"] for batch in batches}) == len(batches)


@pytest.mark.process
def test_whoever_logs_writes_json(stack: ApiStack) -> None:
    """Gunicorn's lines, Celery's and our own: each is an object with a time, a level and an event."""
    assert httpx.get(f"{stack.url}/", headers={"X-Bad": "a" * 9000}).status_code == 431
    assert sent_raw(stack.url, "GET /sl_0123456789abcdef0123456789abcdef HTTP/9.9\r\n\r\n").startswith("HTTP/1.1 4")
    assert "sl_0123" not in stack.log.read_text()
    for line in stack.log.read_text().splitlines():
        assert {"timestamp", "level", "event"} <= set(json.loads(line)), line


@pytest.mark.process
def test_the_figures_of_all_processes(stack: ApiStack) -> None:
    """Of gunicorn and of the worker's processes, at one address."""
    submitted(stack)

    def shown() -> dict[tuple[str, ...], float]:
        samples = [sample for families in parse(httpx.get(f"{stack.url}/metrics").text) for sample in families.samples]
        return {(sample.name, *sample.labels.values()): sample.value for sample in samples}

    wait_until(lambda: shown().get(("shelfline_stage_seconds_count", "predict"), 0) > 0, what="the worker's figures")
    wait_until(lambda: ("shelfline_http_requests_total", "submissions.submit", "202") in shown(), what="the API's")
    families = shown()

    assert families["shelfline_redis_up",] == 1
    assert families["shelfline_http_request_seconds_count", "submissions.submit"] >= 1
    assert not any("health" in "".join(name) for name in families)
