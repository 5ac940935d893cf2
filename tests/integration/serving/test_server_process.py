import ctypes
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.client import ModelClient
from serving.errors import ModelUnavailableError
from serving.wire.protos import GetModelStatusRequest, PredictResponse
from serving.wire.responses import parse_response
from serving.wire.tensors import encode_request
from tests.support.servers.model_server import ServerProcess, publish, random_images, until

pytestmark = pytest.mark.process

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
STATUS_REQUEST = GetModelStatusRequest(model_spec={"name": "default"}).SerializeToString()
ANY_SIZE = (("grpc.max_receive_message_length", -1),)


def raw_request(rows: int) -> bytes:
    """A call of serving_default."""
    return encode_request("default", "serving_default", {"images": random_images(rows).astype(np.float32)})


@pytest.mark.parametrize("flags", [(), ("--enable_serialization_as_tensor_content",)])
def test_sigterm_lets_calls_end(prototypes: Path, own: ServerProcess, flags: tuple[str, ...]) -> None:
    """A call of 6 MB an image that sleeps in the graph is answered; then the process exits 0."""
    publish(prototypes / "3", own.base, 1)
    own.flags = flags
    own.start()
    with grpc.insecure_channel(own.target, options=ANY_SIZE) as channel:
        answers = [channel.unary_unary(PREDICT, None, None).future(raw_request(1), timeout=180) for _ in range(2)]
        for answer in answers:
            content = answer.result()
            tensor = PredictResponse.FromString(content).outputs["raw"]
            _, outputs = parse_response(content)
            assert outputs["raw"].shape == (1, 1_500_000)
            assert bool(tensor.tensor_content) == bool(flags)
            assert bool(tensor.float_val) != bool(flags)
        last = channel.unary_unary(PREDICT, None, None).future(raw_request(1), timeout=180)
        # The next call on the same connection is answered, so the server has the one before it.
        channel.unary_unary(STATUS, None, None)(STATUS_REQUEST, timeout=180)
        own.signal(signal.SIGTERM)

        assert len(last.result()) > 5_000_000
    assert own.process is not None
    assert own.process.wait(180) == 0
    assert "stopping" in own.text()
    assert "Traceback" not in own.text()


def test_a_signal_that_another_thread_receives_is_heeded(prototypes: Path, own: ServerProcess) -> None:
    """The kernel chooses the thread, and TensorFlow and gRPC have many."""
    publish(prototypes / "1", own.base, 1)
    own.start()
    assert own.process is not None
    pid = own.process.pid
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
    # An old thread stays: a signal for a thread that ends is lost, which the kernel's own choice never is.
    assert ctypes.CDLL(None).tgkill(pid, min(others), int(signal.SIGTERM)) == 0

    assert own.process.wait(180) == 0


def test_a_server_waits_for_its_first_version(prototypes: Path, own: ServerProcess) -> None:
    """The port stays shut meanwhile, a line says why, and SIGTERM works."""
    own.start(ready=False)
    until(lambda: "waiting: no version of default" in own.text(), "the line that says so")

    assert not own.is_ready()

    publish(prototypes / "1", own.base, 1)
    until(own.is_ready, "the server to open its port")


def test_sigterm_ends_the_wait_for_a_first_version(own: ServerProcess) -> None:
    """Exit 0: nothing went wrong."""
    own.start(ready=False)
    until(lambda: "waiting: no version of default" in own.text(), "the line that says so")
    own.signal(signal.SIGTERM)

    assert own.process is not None
    assert own.process.wait(180) == 0


def test_a_half_copied_version_is_not_served(prototypes: Path, own: ServerProcess) -> None:
    """The old one goes on under it; once complete it is loaded without waiting for the minute to end."""
    publish(prototypes / "1", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)
    (own.base / "2").mkdir()
    (own.base / "2" / "saved_model.pb").write_bytes((prototypes / "2" / "saved_model.pb").read_bytes())
    until(lambda: client.status("default")[0].error, "the failure to load")

    assert [(item.version, item.state) for item in client.status("default")] == [(2, "LOADING"), (1, "AVAILABLE")]
    assert "variables" in client.status("default")[0].error
    assert client.describe("default").version == 1

    partial = publish(prototypes / "2", own.base, 77).rename(own.base / "tmp-whole")
    (partial / "variables").rename(own.base / "2" / "variables")
    until(lambda: client.describe("default").version == 2, "the completed version")
    client.close()


def test_a_version_of_rubbish_ends_with_its_error(prototypes: Path, own: ServerProcess) -> None:
    """After its tries; the old version and the server live on."""
    publish(prototypes / "1", own.base, 1)
    own.flags = ("--max_num_load_retries=1", "--load_retry_interval_micros=1000")
    own.start()
    client = ModelClient(own.target, timeout=180)
    rubbish = own.base / "tmp-2"
    rubbish.mkdir()
    (rubbish / "saved_model.pb").write_bytes(b"\xff not a model")
    rubbish.rename(own.base / "2")
    until(lambda: client.status("default")[0].state == "END", "version 2 to be given up")

    assert client.status("default")[0].error
    assert client.describe("default").version == 1
    assert "try 2, given up" in own.text()
    client.close()


def test_a_server_whose_only_version_cannot_load_exits_2(own: ServerProcess) -> None:
    """In one line; its supervisor decides what next."""
    (own.base / "1").mkdir()
    own.flags = ("--max_num_load_retries=0",)
    own.start(ready=False)

    assert own.process is not None
    assert own.process.wait(90) == 2
    assert "no version of default could be loaded" in own.text()


def test_a_port_in_use_is_one_line_and_status_2(own: ServerProcess) -> None:
    """Before seconds are spent on TensorFlow."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", own.port))
        taken.listen()
        own.start(ready=False)
        assert own.process is not None
        assert own.process.wait(180) == 2

    assert own.text().count("\n") == 1
    assert "cannot listen on 127.0.0.1" in own.text()


def test_a_stopped_server_is_noticed_by_the_deadline(prototypes: Path, own: ServerProcess) -> None:
    """And answers again when it goes on."""
    publish(prototypes / "1", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)
    served = client.describe("default")
    own.signal(signal.SIGSTOP)
    try:
        with pytest.raises(ModelUnavailableError, match="DEADLINE_EXCEEDED"):
            client.detect(served, random_images(1), timeout=0.3)
    finally:
        own.signal(signal.SIGCONT)

    assert len(client.detect(served, random_images(1))) == 1
    client.close()


STUBS = """
import sys, warnings
warnings.simplefilter("ignore")
import grpc, numpy as np, tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
request = predict_pb2.PredictRequest()
request.model_spec.name = "default"
request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.ones((2, 32, 32, 3), np.float32)))
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
answer = stub.Predict(request, timeout=180)
assert answer.model_spec.version.value == 1
assert tf.make_ndarray(answer.outputs["raw"]).tolist()[1] == [3072.0 + n for n in range(8)]
request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
request.model_spec.name = "default"
signatures = get_model_metadata_pb2.SignatureDefMap()
assert stub.GetModelMetadata(request, timeout=180).metadata["signature_def"].Unpack(signatures)
assert signatures.signature_def["detect"].inputs["images"].dtype == tf.uint8.as_datatype_enum
request = get_model_status_pb2.GetModelStatusRequest()
request.model_spec.name = "default"
(status,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=180).model_version_status
assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
print("all is well")
"""


def test_the_real_stubs_understand_it(shared: ServerProcess) -> None:
    """Those of tensorflow-serving-api, in a process of their own, as the course's client uses them."""
    run = subprocess.run([sys.executable, "-c", STUBS, shared.target], capture_output=True, check=False, text=True)

    assert run.stdout.strip() == "all is well", run.stderr[-2000:]
