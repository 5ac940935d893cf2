"""What becomes of what a graph raises, or does not answer in time, in HTTP."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from serving.server.calls import Calls
from serving.server.errors import StatusError
from serving.server.metrics import Metrics
from serving.server.rest.rest import HTTP_STATUS, RestApi
from serving.server.rpc.inference import InferenceService
from serving.server.rpc.model_service import ModelService
from serving.server.rpc.prediction import PredictionService
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import ModelConfig
from serving.server.versions.models import Models
from serving.wire.protos import ProtoMessage, SignatureDef
from tests.support.polling import wait_until

Act = Callable[[], None]


class Acting:
    """A version that does what it is told to before it answers its input."""

    def __init__(self, acts: list[Act]) -> None:
        signature = SignatureDef(inputs={"x": {"name": "x:0", "dtype": 1}}, outputs={"y": {"name": "y:0"}})
        self.signatures: dict[str, ProtoMessage] = {"serving_default": signature}
        self._acts = acts

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        assert deadline is not None
        while self._acts:
            self._acts.pop()()
        return [np.asarray(feeds["x:0"]) for _ in fetches]

    def close(self) -> None:
        pass


@pytest.fixture
def acts() -> list[Act]:
    """What the model is to do at its next call."""
    return []


@pytest.fixture
def metrics() -> Metrics:
    """What is counted."""
    return Metrics("/metrics")


@pytest.fixture
def api(tmp_path: Path, acts: list[Act], metrics: Metrics) -> Iterator[RestApi]:
    """The API of one model, whose calls may take 0.2 s."""
    (tmp_path / "1").mkdir()
    models = Models(lambda name: Lifecycle(name, lambda _: Acting(acts)))
    calls = Calls(models, metrics)
    models.configure([ModelConfig("m", tmp_path)])
    wait_until(lambda: models.configured[0].is_available)
    prediction = PredictionService(models, calls)
    inference = InferenceService(models, calls)
    yield RestApi(models, prediction, inference, ModelService(models), calls, timeout=0.2, threads=2, metrics=metrics)
    models.stop()


def predict(api: RestApi, path: str = "/v1/models/m:predict") -> tuple[int, Any]:
    """Status and document of a call."""
    answered: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "wsgi.input": io.BytesIO(b'{"instances": [1]}'),
    }
    body = b"".join(api(environ, lambda status, _: answered.append(status)))
    return int(answered[0].split()[0]), json.loads(body)


def raising(error: Exception) -> Act:
    """Something that raises."""

    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_code_has_a_status(code: grpc.StatusCode, api: RestApi, acts: list[Act]) -> None:
    """And the next call is answered."""
    if code is not grpc.StatusCode.OK:
        acts.append(raising(StatusError(code, "so it is")))

        assert predict(api) == (HTTP_STATUS[code], {"error": "so it is"})
    assert predict(api) == (200, {"predictions": [1.0]})


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RuntimeError("secret"), 500, "The model server failed: RuntimeError"),
        (MemoryError(), 429, "OOM when allocating the tensors of this call"),
        (StatusError(grpc.StatusCode.INTERNAL, "x" * 1025), 500, "x" * 1024 + "...TRUNCATED"),
    ],
)
def test_what_is_not_foreseen_is_a_status_too(
    error: Exception, status: int, text: str, api: RestApi, acts: list[Act]
) -> None:
    """Without a traceback."""
    acts.append(raising(error))

    assert predict(api) == (status, {"error": text})


def test_methods_have_lower_case(api: RestApi) -> None:
    """The rest of the path may be written either way."""
    assert predict(api, "/V1/Models/m:predict")[0] == 200
    assert predict(api, "/v1/models/m:PREDICT") == (400, {"error": "Malformed request: POST /v1/models/m:PREDICT"})


def test_versions_are_ascii_digits(api: RestApi) -> None:
    """Python reads those of other scripts too, and TF Serving does not."""
    assert predict(api, "/v1/models/m/versions/1:predict")[0] == 200
    arabic = "/v1/models/m/versions/\u0661:predict"
    assert predict(api, arabic.encode().decode("latin-1")) == (400, {"error": f"Malformed request: POST {arabic}"})


def test_what_takes_too_long_is_504(api: RestApi, acts: list[Act], metrics: Metrics) -> None:
    """Its thread is free again when the graph is done."""
    gate = threading.Event()

    def wait() -> None:
        gate.wait(30)

    for _ in range(3):  # more than there are threads
        acts.append(wait)

        assert predict(api) == (504, {"error": "Timed out waiting for notification"})
    gate.set()
    wait_until(lambda: predict(api)[0] == 200)

    assert ':request_count{model_name="m",status="DEADLINE_EXCEEDED"} 3' in metrics.page()
