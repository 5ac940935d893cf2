"""Signatures of every kind on a real version: tf.Examples, bfloat16, scalar strings; with batching and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.batching.scheduler import BatchScheduler
from serving.server.batching.settings import BatchSettings
from serving.server.errors import StatusError
from serving.server.loading.version_loader import VersionLoader
from serving.server.loading.warmup import WARMUP_FILE, warm_up
from serving.server.metrics import Metrics
from serving.server.rest.json_answer import write_answer
from serving.server.rpc.examples import CLASSIFICATION, REGRESSION
from serving.server.rpc.inference import run_method, run_tasks
from serving.server.rpc.prediction import run_signature
from serving.server.versions.servable import Servable
from serving.wire.protos import (
    ClassificationRequest,
    ModelSpec,
    MultiInferenceRequest,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
)
from serving.wire.tensors import as_bfloat16, decode, encode_request, encode_response
from tests.support.example_model import write_example_model

VALUES = (1.0, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version's folder."""
    folder = tmp_path_factory.mktemp("examples") / "1"
    write_example_model(folder)
    return folder


@pytest.fixture(scope="module", params=["alone", "batched"])
def version(folder: Path, request: pytest.FixtureRequest) -> Iterator[Servable]:
    """The version in memory."""
    settings = BatchSettings(num_batch_threads=1, allowed_batch_sizes=(1, 4), max_batch_size=4)
    scheduler = BatchScheduler(settings, Metrics()) if request.param == "batched" else None
    version = VersionLoader(Metrics(), scheduler)(folder)
    yield version
    version.close()


def filled(request: Any, name: str) -> Any:
    """The request, for a signature, with the examples of `VALUES` and one without a feature."""
    request.model_spec.signature_name = name
    fill_input(request.input)
    return request


def fill_input(given: Any) -> None:
    for value in VALUES:
        given.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    given.example_list.examples.add()


def test_classify_and_regress(version: Servable) -> None:
    """The graph parses the examples."""
    regressed = run_method(version, REGRESSION, filled(RegressionRequest(), "regress"), checks_names=True)
    classified = run_method(version, CLASSIFICATION, filled(ClassificationRequest(), "classify"), checks_names=True)
    request = MultiInferenceRequest()
    request.tasks.add(model_spec={"name": "m", "signature_name": "regress"}, method_name=REGRESSION.name)
    request.tasks.add(model_spec={"name": "m", "signature_name": "classify"}, method_name=CLASSIFICATION.name)
    fill_input(request.input)
    both = run_tasks(version, request, checks_names=True)

    assert [item.value for item in regressed.regressions] == [0.5, 0.25, 4.0]
    rows = [[(item.label, item.score) for item in row.classes] for row in classified.classifications]
    assert rows == [[("low", half), ("high", 1 - half)] for half in (0.5, 0.25, 4.0)]
    assert both.results[0].regression_result == regressed
    assert both.results[1].classification_result == classified


def test_a_broken_example_is_the_caller_s_fault(version: Servable) -> None:
    """TensorFlow says what is wrong with it."""
    request = RegressionRequest(model_spec={"signature_name": "regress"})
    request.input.example_list.examples.add().features.feature["x"].bytes_list.value.append(b"x")
    with pytest.raises(StatusError, match="Data types don't match") as error:
        run_method(version, REGRESSION, request, checks_names=True)

    assert error.value.code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize("as_content", [False, True])
def test_bfloat16_goes_in_and_out(version: Servable, as_content: bool) -> None:  # noqa: FBT001 - a table
    """On the wire as 16 bits; a client reads it as float32."""
    request = PredictRequest.FromString(encode_request("m", "bfloat16", {"x": as_bfloat16(np.array([1.5, -2.0]))}))
    outputs = run_signature(version, request)
    response = PredictResponse.FromString(encode_response(ModelSpec(), outputs, as_content=as_content))

    assert response.outputs["y"].dtype == 14
    assert decode(response.outputs["y"]).tolist() == [3.0, -4.0]


def test_scalar_outputs(version: Servable) -> None:
    """A string keeps its NULs, by gRPC and in JSON; batching refuses what has no batch dimension."""
    request = PredictRequest.FromString(encode_request("m", "text", {"x": np.ones(3, np.float32)}))
    if type(version).__name__ == "BatchedModel":
        with pytest.raises(StatusError, match="Batched output tensor has 0 dimensions") as error:
            run_signature(version, request)
        assert error.value.code.name == "FAILED_PRECONDITION"
        return
    outputs = run_signature(version, request)
    response = PredictResponse.FromString(encode_response(ModelSpec(), outputs))

    assert list(response.outputs["text"].string_val) == [b"a\0\0"]
    assert decode(response.outputs["sum"]).tolist() == 3.0
    assert write_answer({"text": outputs["text"]}, in_rows=False) == b'{\n    "outputs": "a\\u0000\\u0000"\n}'


def test_warm_up_records_of_every_kind(version: Servable, tmp_path: Path) -> None:
    """Those of TF Serving but session runs."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = tmp_path / WARMUP_FILE
    path.parent.mkdir()
    logs = [prediction_log_pb2.PredictionLog() for _ in range(3)]
    filled(logs[0].classify_log.request, "classify")
    filled(logs[1].regress_log.request, "regress")
    task = logs[2].multi_inference_log.request.tasks.add(method_name=REGRESSION.name)
    task.model_spec.name, task.model_spec.signature_name = "m", "regress"
    fill_input(logs[2].multi_inference_log.request.input)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())

    assert warm_up(version, tmp_path) == 3
