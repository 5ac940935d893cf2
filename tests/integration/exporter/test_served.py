"""Exported models on the model server, over gRPC."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from PIL import Image

from tests.support.export_command import export_command
from tests.support.servers.model_server import ServerProcess

if TYPE_CHECKING:
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    from exporter.models.ssd300 import SSD300

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(ssd300_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The embedded model server with the exported SSD300."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    server = ServerProcess(ssd300_folder.parent, log, flags=("--model_name=commodity",))
    try:
        yield server.start(ready=False)
    finally:
        server.end()


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[PredictionServiceStub]:
    """The course's way to call it: a plain stub. A message of 600 kB fits the defaults."""
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    with grpc.insecure_channel(server.target) as channel:
        grpc.channel_ready_future(channel).result(timeout=180)
        yield PredictionServiceStub(channel)


def test_the_course_s_client_runs_unchanged(stub: PredictionServiceStub, ssd300_network: SSD300) -> None:
    """Pillow's resize, caffe's preprocessing, `make_tensor_proto`; and it gets what the Keras model answers."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    img = Image.open(ROOT / "samples" / "photo-coffee.jpg").resize((300, 300))
    img = np.asarray(img, dtype="float32")[:, :, ::-1] - np.array([103.939, 116.779, 123.68], dtype="float32")
    inputs = img.reshape(-1, *img.shape)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "commodity"
    request.model_spec.signature_name = "serving_default"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(inputs, shape=[1, 300, 300, 3]))

    result = stub.Predict(request, 60.0)
    outputs = result.outputs["concat_3:0"]

    answer = np.array(outputs.float_val).reshape([dim.size for dim in outputs.tensor_shape.dim])
    assert answer.shape == (1, 7308, 21)
    np.testing.assert_allclose(ssd300_network.model(inputs).numpy(), answer, atol=1e-4)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command about versions."""
    return export_command("models", *arguments)


@pytest.mark.usefixtures("stub")
def test_verify_compares_with_the_server(ssd300_folder: Path, server: ServerProcess) -> None:
    """On the sample photos; the server runs the same file, so nothing but rounding may differ."""
    options = ("--models", ssd300_folder.parents[1], "--server", server.target)

    done = run("verify", "commodity", *options, "--images", ROOT / "samples")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("4 images, 800 detections; largest difference of a box edge ")
    assert done.stdout.endswith("other detections in 0 images\n")


@pytest.mark.usefixtures("stub")
def test_the_weights_are_held_against_the_server(
    ssd300_folder: Path, ssd300_weights: Path, server: ServerProcess
) -> None:
    """The trained network in process, NumPy around it, and `detect` of the server find the same to 1e-4."""
    options = ("--models", ssd300_folder.parents[1], "--server", server.target, "--source", ssd300_weights)

    done = run("verify", "commodity", *options, "--images", ROOT / "samples")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("4 images, 800 detections; largest difference of a box edge ")
    assert done.stdout.endswith("other detections in 0 images\n")


@pytest.mark.usefixtures("stub")
def test_the_list_says_who_serves_it(ssd300_folder: Path, server: ServerProcess, tmp_path: Path) -> None:
    """Version, state on the server, contract and digest in a line; a model that the server has not is said so."""
    other = tmp_path / "other" / "7"
    other.mkdir(parents=True)
    (other / "saved_model.pb").touch()
    elsewhere = run("--models", tmp_path, "--server", server.target)
    done = run("--models", ssd300_folder.parents[1], "--server", server.target)

    assert elsewhere.stdout.startswith(f"other 7; not on {server.target}; ")

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(f"commodity 1; AVAILABLE on {server.target}; ")
    assert "300x300 bilinear, 8 labels, score > 0.5, NMS 0.45, at most 200; sha256 " in done.stdout


def test_a_server_that_is_not_there_is_one_line(ssd300_folder: Path) -> None:
    """With status 2; what is in the folder is listed all the same."""
    options = ("--models", ssd300_folder.parents[1], "--server", "127.0.0.1:1")

    verified, listed = run("verify", "commodity", *options), run("commodity", *options)

    assert (verified.returncode, verified.stdout, verified.stderr.count("\n")) == (2, "", 1)
    assert (listed.returncode, listed.stdout.count("\n"), listed.stderr.count("\n")) == (2, 1, 1)
    assert listed.stdout.startswith("commodity 1; ")
    assert verified.stderr == listed.stderr
    assert "model server at 127.0.0.1:1 does not answer (UNAVAILABLE)" in verified.stderr
