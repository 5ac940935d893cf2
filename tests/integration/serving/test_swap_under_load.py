"""The version changes while clients call, and no call fails: forwards, backwards, and beside a broken version."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
import pytest

from serving.client import ModelClient
from serving.wire.protos import PredictResponse
from serving.wire.tensors import encode_request
from tests.support.servers.model_server import ServerProcess, publish, random_images, until

pytestmark = pytest.mark.process

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = encode_request("default", "detect", {"images": random_images(1)})


@pytest.mark.parametrize("flags", [(), ("--enable_batching",)])
def test_no_call_fails_while_versions_change(prototypes: Path, own: ServerProcess, flags: tuple[str, ...]) -> None:
    """Each is answered by a version that was the newest; unloading waits for those in flight."""
    publish(prototypes / "1", own.base, 1)
    own.flags = flags
    own.start()
    over = threading.Event()
    versions: list[int] = []
    errors: list[str] = []

    def load() -> None:
        with grpc.insecure_channel(own.target) as channel:
            call = channel.unary_unary(PREDICT, None, None)
            while not over.is_set():
                try:
                    versions.append(PredictResponse.FromString(call(REQUEST, timeout=180)).model_spec.version.value)
                except grpc.RpcError as error:
                    errors.append(str(error))
                time.sleep(0.005)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    client = ModelClient(own.target, timeout=180)

    def states() -> dict[int, str]:
        return {status.version: status.state for status in client.status("default")}

    try:
        publish(prototypes / "2", own.base, 2)
        until(lambda: states() == {2: "AVAILABLE", 1: "END"}, "version 2")
        (own.base / "3").mkdir()  # half copied
        (own.base / "3" / "saved_model.pb").write_bytes(b"\xff not a model")
        until(lambda: client.status("default")[0].error, "version 3 to fail")
        assert states() == {3: "LOADING", 2: "AVAILABLE", 1: "END"}
        (own.base / "3").rename(own.base / "away")
        until(lambda: states()[3] == "END", "version 3 to be forgotten")
        (own.base / "2").rename(own.base / "2.disabled")
        until(lambda: states() == {3: "END", 2: "END", 1: "AVAILABLE"}, "the roll-back")
        answered = len(versions)
        until(lambda: len(versions) > answered + 8, "calls after it")
    finally:
        over.set()
        for thread in threads:
            thread.join()
        client.close()

    assert errors == []
    assert set(versions) == {1, 2}
    assert versions[0] == versions[-1] == 1
