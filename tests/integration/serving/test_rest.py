"""The REST API over HTTP, the metrics, the health check and the Unix socket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import ModelClient
from tests.support.servers.model_server import MARKER, random_images

IMAGE = random_images(1)[0]
DETECT = {"signature_name": "detect"}


@pytest.fixture
def http(whole: Any) -> Iterator[httpx.Client]:
    """A client of the REST API."""
    with httpx.Client(base_url=whole.rest, timeout=180) as client:
        yield client


def test_states(http: httpx.Client) -> None:
    """Of all versions, of one, of none."""
    ok = {"error_code": "OK", "error_message": ""}
    first = {"version": "1", "state": "AVAILABLE", "status": ok}

    assert http.get("/v1/models/default").json() == {"model_version_status": [first]}
    assert http.get("/v1/models/two/versions/1").json() == {"model_version_status": [first]}
    assert [status["version"] for status in http.get("/v1/models/two").json()["model_version_status"]] == ["2", "1"]
    answer = http.get("/v1/models/m")
    assert (answer.status_code, answer.json()) == (404, {"error": "Could not find any versions of model m"})
    assert answer.headers["content-type"] == "application/json"
    answer = http.get("/v1/models/two/versions/9")
    assert (answer.status_code, answer.json()) == (404, {"error": "Could not find version 9 of model two"})


def test_metadata(http: httpx.Client) -> None:
    """Names, dtypes and shapes of what goes in and comes out."""
    metadata = http.get("/v1/models/two/versions/1/metadata").json()
    images = metadata["metadata"]["signature_def"]["signature_def"]["detect"]["inputs"]["images"]

    assert metadata["model_spec"] == {"name": "two", "signature_name": "", "version": "1"}
    assert images["dtype"] == "DT_UINT8"
    assert [dim["size"] for dim in images["tensor_shape"]["dim"]] == ["-1", "32", "32", "3"]


def test_rows_and_columns_answer_what_grpc_does(http: httpx.Client, whole: Any) -> None:
    """To the last digit."""
    client = ModelClient(whole.target, timeout=180)
    images = random_images(2)
    (first, _) = client.detect(client.describe("default"), images)
    client.close()
    rows = http.post("/v1/models/default:predict", json=DETECT | {"instances": images.tolist()}).json()["predictions"]
    named = [{"images": image} for image in images.tolist()]
    by_name = http.post("/v1/models/default:predict", json=DETECT | {"instances": named}).json()["predictions"]
    columns = http.post("/v1/models/default/versions/1:predict", json=DETECT | {"inputs": images.tolist()})
    outputs = columns.json()["outputs"]

    assert rows == by_name
    assert [row["num_detections"] for row in rows] == outputs["num_detections"]
    assert rows[0]["detection_boxes"] == outputs["detection_boxes"][0]
    boxes = np.array(rows[0]["detection_boxes"], np.float32)[: len(first.boxes)]
    assert np.array_equal(boxes, first.boxes)


def test_strings_come_as_text(http: httpx.Client) -> None:
    """The contract is JSON in JSON; a single output has no name."""
    (text,) = http.post(
        "/v1/models/default:predict", json={"signature_name": "describe", "inputs": {"query": [0]}}
    ).json()["outputs"]

    assert json.loads(text)["input_height"] == 32


@pytest.mark.parametrize(
    ("path", "body", "code", "error"),
    [
        ("m:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(m)"),
        ("two/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(two, 9)"),
        ("two/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        ("two:predict", {"signature_name": "x", "instances": [1]}, 400, 'Serving signature name: "x" not found'),
        ("default:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("default:predict", DETECT | {"instances": ["x"]}, 400, 'JSON Value: "x" Type: String is not of expected type'),
        ("default:predict", {"instances": [[1.0], [1.0, 2.0]]}, 400, "Expecting tensor size: 1 but got: 2"),
        ("default:predict", DETECT | {"inputs": [IMAGE.tolist()] * 9}, 400, "Task size 9 is larger than maximum"),
        ("default:predict", DETECT | {"inputs": [IMAGE[:16].tolist()]}, 400, "Incompatible shapes"),
        ("default:classify", {"examples": [{}]}, 400, "Expected classification signature method_name to be "),
        ("default:guess", {}, 400, "Malformed request: POST /v1/models/default:guess"),
    ],
)
def test_errors_are_one_json_object(http: httpx.Client, path: str, body: Any, code: int, error: str) -> None:
    """With the status that the gRPC code has in HTTP."""
    answer = http.post(f"/v1/models/{path}", json=body)

    assert answer.status_code == code
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]


def test_what_is_no_json_is_refused(http: httpx.Client) -> None:
    """By the server, and it lives on."""
    for body in (b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b'{"instances": ' + b"[" * 70 + b"]" * 70 + b"}"):
        answer = http.post("/v1/models/default:predict", content=body)
        assert answer.status_code == 400, body[:20]
    assert http.get("/v1/nothing").status_code == 400
    assert http.get("/elsewhere").status_code == 404
    assert http.get("/v1/models/default").status_code == 200


def test_metrics_count_calls_of_both_ways(http: httpx.Client, whole: Any) -> None:
    """Under TF Serving's names, in Prometheus's text format; models that are not there do not add up to many."""

    def page() -> str:
        return http.get("/monitoring/prometheus/metrics").text

    def count(labels: str) -> float:
        match = re.search(rf"^:tensorflow:serving:request_count{{{re.escape(labels)}}} (\S+)$", page(), re.MULTILINE)
        return float(match[1]) if match else 0.0

    labels = 'model_name="default",status="OK"'
    before = count(labels)
    http.post("/v1/models/default:predict", json=DETECT | {"instances": [IMAGE.tolist()]})
    client = ModelClient(whole.target, timeout=180)
    client.detect(client.describe("default"), random_images(1))
    client.close()
    for number in range(3):
        http.post(f"/v1/models/unheard-of-{number}:predict", json={"instances": [1]})

    assert count(labels) == before + 3  # describe is a Predict call too
    assert "unheard-of" not in page()
    for name in ("request_latency_bucket", "runtime_latency_bucket", "batching_session:queuing_latency_bucket"):
        assert f":tensorflow:serving:{name}{{" in page()
    assert "# TYPE :tensorflow:serving:request_count counter\n" in page()
    assert ':tensorflow:cc:saved_model:load_attempt_count{model_path="' in page()


def test_health_is_told_only_where_it_is_asked_for(shared: Any) -> None:
    """By --enable_grpc_healthcheck_service."""
    with grpc.insecure_channel(shared.target) as channel, pytest.raises(grpc.RpcError) as error:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=180)
    assert isinstance(error.value, grpc.Call)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_health_and_the_unix_socket(whole: Any) -> None:
    """The server as a whole is healthy; a service by name is not known, as in TF Serving."""
    with grpc.insecure_channel(f"unix:{whole.socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=180).status == 1
        with pytest.raises(grpc.RpcError) as error:
            stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=180)
    assert isinstance(error.value, grpc.Call)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    client = ModelClient(f"unix:{whole.socket}", timeout=180)
    assert client.status("default")[0].state == "AVAILABLE"
    client.close()


def test_a_graph_that_raises_leaves_the_server_alone(http: httpx.Client) -> None:
    """Its own text comes back, and the next call is answered."""
    bad = IMAGE.copy()
    bad[0, 0] = MARKER
    refused = http.post("/v1/models/default:predict", json=DETECT | {"instances": [bad.tolist()]})

    assert refused.status_code == 400
    assert "marked image in the batch" in refused.json()["error"]
    good = http.post("/v1/models/default:predict", json=DETECT | {"instances": [IMAGE.tolist()]})
    assert good.status_code == 200
