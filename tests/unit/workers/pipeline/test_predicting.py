"""The Predict calls of a batch: a span in each trace that it has images of, one line of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.boxes.detections import Detections
from serving.client import ServedModel
from serving.errors import ModelUnavailableError, RowsRejectedError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions
from workers.pipeline.predicting import Predictor
from workers.pipeline.rows import Row
from workers.telemetry.metrics import NOT_FINITE
from workers.telemetry.otel import OtlpTracer
from workers.telemetry.spans import Tracer

SERVED = ServedModel("default", 3, None)  # type: ignore[arg-type]  # nothing here looks at the contract
ONE, TWO = (f"00-{digit * 32}-{digit * 16}-01" for digit in "12")
CLAIMED = ClaimedImage("sl:lane:default:bulk", "1700000000000-0", "job_a", 0, "0", 0, 0, "", "", "", 1, JobOptions("m"))


class Imaged:
    """An image in a worker's hands, as far as the predictor looks at it."""

    def __init__(self, claimed: ClaimedImage) -> None:
        self.claimed = claimed


class Client:
    """A model that answers with what it is told to."""

    def __init__(self) -> None:
        self.metadata: list[Any] = []
        self.error: Exception | None = None
        self.answer: Any = "found"

    def detect(self, _served: ServedModel, images: Any, *, timeout: float, metadata: Sequence[Any]) -> list[Any]:
        assert timeout == 5.0
        self.metadata.append(metadata)
        if self.error:
            raise self.error
        return [self.answer] * len(images)


def row(job: str, trace: str, request: str = "", entry: str = "1700000000000-0") -> Row:
    claimed = replace(CLAIMED, job=job, trace=trace, request_id=request, entry=entry)
    return Row(Imaged(claimed), 0, np.zeros((2, 2, 3), np.uint8))  # type: ignore[arg-type]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def predictor(client: Client, exported: InMemorySpanExporter) -> Iterator[Predictor]:
    tracer = OtlpTracer("worker", SimpleSpanProcessor(exported))
    yield Predictor(client, 5.0, tracer)  # type: ignore[arg-type]
    tracer.close()


def parents(exported: InMemorySpanExporter, name: str) -> list[str]:
    spans = [span_ for span_ in exported.get_finished_spans() if span_.name == name]
    return [f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01" for span in spans if span.parent]


def test_a_batch_of_several_traces(predictor: Predictor, client: Client, exported: InMemorySpanExporter) -> None:
    """Each has its own wait and its own call; the call itself goes on in the first, the others link to that."""
    rows = [row("a", ONE, entry="1700000002000-0"), row("a", ONE), row("b", TWO), row("c", "")]
    answers: list[Any] = predictor.predict(SERVED, rows, lambda: False)
    assert answers == ["found"] * 4
    first, second = (span_ for span_ in exported.get_finished_spans() if span_.name == "predict")
    waits = [span_ for span_ in exported.get_finished_spans() if span_.name == "queue"]

    assert parents(exported, "predict") == parents(exported, "queue") == [ONE, TWO]
    assert [seconds.start_time for seconds in waits] == [1_700_000_000 * 10**9] * 2  # the oldest image of each
    assert first.attributes is not None
    assert first.attributes == {
        "shelfline.batch": first.attributes["shelfline.batch"],
        "shelfline.rows": 4,
        "shelfline.model": "default",
        "shelfline.version": 3,
        "shelfline.job": "a",
    }
    assert [(link.context.trace_id, link.context.span_id) for link in second.links] == [
        (first.context.trace_id, first.context.span_id)
    ]
    ((passed_on,),) = client.metadata
    assert passed_on == ("traceparent", f"00-{first.context.trace_id:032x}-{first.context.span_id:016x}-01")


@pytest.mark.parametrize("trace", ["", f"00-{'1' * 32}-{'1' * 16}-00", "nonsense"])
def test_what_is_not_traced(predictor: Predictor, client: Client, exported: InMemorySpanExporter, trace: str) -> None:
    """No trace, one that is not sampled: nothing is sent to anyone. A broken one begins a trace of its own."""
    predictor.predict(SERVED, [row("a", trace)], lambda: False)

    assert bool(client.metadata[0]) == bool(exported.get_finished_spans()) == (trace == "nonsense")


def test_a_call_that_fails(predictor: Predictor, client: Client, exported: InMemorySpanExporter) -> None:
    """Each try is a span, and says what went wrong."""
    client.error = ModelUnavailableError("nobody is there")
    with pytest.raises(ModelUnavailableError):
        predictor.predict(SERVED, [row("a", ONE)], lambda: True)
    (span,) = (span_ for span_ in exported.get_finished_spans() if span_.name == "predict")

    assert (span.status.is_ok, span.status.description) == (False, "nobody is there")


def test_a_line_a_batch(client: Client) -> None:
    """However many rows it has, and calls it took: which jobs and requests it was for, and what was rejected."""
    predictor = Predictor(client, 5.0, Tracer())  # type: ignore[arg-type]
    client.error = RowsRejectedError("not these")
    rows = [row("a", "", "r1"), row("a", "", "r1"), row("b", "")]
    with structlog.testing.capture_logs() as lines:
        answers = predictor.predict(SERVED, rows, lambda: False)

    assert len(client.metadata) > 1
    assert all(isinstance(answer, RowsRejectedError) for answer in answers)
    (line,) = lines
    assert {name: line[name] for name in ("event", "model", "version", "rows", "images", "rejected")} == {
        "event": "batch",
        "model": "default",
        "version": 3,
        "rows": 3,
        "images": 3,
        "rejected": 3,
    }
    assert (line["jobs"], line["requests"]) == (["a", "b"], ["r1"])


def test_values_that_are_not_finite_are_said_and_counted(
    predictor: Predictor, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one line of the log for a batch, and by model and version; an answer without any says nothing."""
    counted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(NOT_FINITE, "add", lambda *labels, by: counted.append((*labels, by)))
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    for not_finite in (0, 3):
        client.answer = Detections(*nothing, not_finite=not_finite)
        with structlog.testing.capture_logs() as logs:
            predictor.predict(SERVED, [row("a", ""), row("b", "")], lambda: False)
        warnings = [line for line in logs if line["log_level"] == "warning"]
        assert [(line["model"], line["version"], line["detections"]) for line in warnings] == (
            [("default", 3, 6)] if not_finite else []
        )
    assert counted == [("default", "3", 6)]
