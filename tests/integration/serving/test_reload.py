"""Several models in one process, and how a new configuration takes the place of the old."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format

from serving.client import ModelClient
from serving.errors import VersionGoneError
from serving.wire.protos import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServerConfig,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from tests.support.generated_stubs import BareChannel, Caller, GeneratedStubs
from tests.support.servers.model_server import random_images, until
from tests.support.tensors import encode_tensor

RELOAD = "ModelService/HandleReloadConfigRequest"
STATUS = "ModelService/GetModelStatus"
PREDICT = "PredictionService/Predict"


@pytest.fixture(params=[BareChannel, GeneratedStubs])
def caller(whole: Any, request: pytest.FixtureRequest) -> Iterator[Caller]:
    """The server of several models, in its first configuration before and after."""
    with grpc.insecure_channel(whole.target) as channel:
        caller = request.param(channel)
        yield caller
        configure(caller, whole.config)
        until(lambda: states(caller, "two") == [(2, 30), (1, 30)], "what was there before")


def configure(caller: Caller, config: str, timeout: float = 60) -> None:
    """HandleReloadConfigRequest with a configuration in text format."""
    request = ReloadConfigRequest(config=text_format.Parse(config, ModelServerConfig()))
    response = ReloadConfigResponse.FromString(caller.call(RELOAD, request.SerializeToString(), timeout))

    assert (response.status.error_code, response.status.error_message) == (0, "")


def model(name: str, base: Path, more: str = "") -> str:
    """A model of a configuration."""
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'


def with_models(whole: Any, *models: str) -> str:
    """The first configuration and these models."""
    return str(whole.config).replace("model_config_list {", "model_config_list {\n" + "\n".join(models))


def states(caller: Caller, name: str) -> list[tuple[int, int]]:
    """Versions and the numbers of their states."""
    content = caller.call(STATUS, GetModelStatusRequest(model_spec={"name": name}).SerializeToString())
    return [
        (status.version, status.state) for status in GetModelStatusResponse.FromString(content).model_version_status
    ]


def predict(caller: Caller, name: str, **spec: Any) -> tuple[int, str]:
    """The version that answered and the classes that it found, as text."""
    request = PredictRequest(model_spec={"name": name, "signature_name": "detect"} | spec)
    request.inputs["images"].ParseFromString(encode_tensor(random_images(1)))
    response = PredictResponse.FromString(caller.call(PREDICT, request.SerializeToString()))
    return response.model_spec.version.value, str(response.outputs["detection_boxes"])


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Code and message of a call that is refused."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert isinstance(error.value, grpc.Call)
    return error.value.code().name, error.value.details() or ""


def test_one_process_serves_several_models(caller: Caller) -> None:
    """Each by its name; of all versions each by its number, and the newest without one."""
    assert [states(caller, name) for name in ("default", "two", "slow")] == [[(1, 30)], [(2, 30), (1, 30)], [(1, 30)]]
    assert predict(caller, "default")[1] == predict(caller, "two", version={"value": 1})[1]
    assert predict(caller, "two")[0] == 2
    assert predict(caller, "two")[1] != predict(caller, "two", version={"value": 1})[1]


def test_a_label_names_a_loaded_version(caller: Caller, whole: Any) -> None:
    """Once it is given; it moves with the next configuration, and goes with one that has none."""
    labels = "version_labels {{ key: 'stable' value: {} }} version_labels {{ key: 'canary' value: {} }}"
    for stable, canary in ((1, 2), (2, 1)):
        label = whole.config.replace("all {} }", "all {} } " + labels.format(stable, canary))
        configure(caller, label)

        assert predict(caller, "two", version_label="stable")[0] == stable
        assert predict(caller, "two", version_label="canary")[0] == canary

    wrong = whole.config.replace("all {} }", "all {} } " + labels.format(1, 9))

    assert refused(lambda: configure(caller, wrong)) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 9 of model two, which is not currently available for inference",
    )
    assert predict(caller, "two", version_label="stable")[0] == 2, "nothing of the refused one is in force"

    configure(caller, whole.config)

    assert refused(lambda: predict(caller, "two", version_label="stable")) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    )


def test_a_model_comes_and_goes(caller: Caller, whole: Any, prototypes: Path, tmp_path: Path) -> None:
    """The call returns when the new model can be called; one that is listed no more ends, and is told of."""
    base = tmp_path / "new"
    base.mkdir()
    (base / "00000007").symlink_to(prototypes / "2")
    configure(caller, with_models(whole, model("new", base)))

    assert predict(caller, "new")[0] == 7
    assert predict(caller, "default")[0] == 1

    configure(caller, whole.config)
    until(lambda: states(caller, "new") == [(7, 50)], "the end of the model")

    assert refused(lambda: predict(caller, "new")) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(new)",
    )


def test_specific_versions_are_served(caller: Caller, whole: Any) -> None:
    """The policy of a model that is there already can change: what it leaves out is unloaded."""
    only = whole.config.replace("all {}", "specific { versions: 1 }")
    configure(caller, only)
    until(lambda: states(caller, "two") == [(2, 50), (1, 30)], "version 2 to end")

    assert predict(caller, "two")[0] == 1

    configure(caller, whole.config)
    until(lambda: states(caller, "two") == [(2, 30), (1, 30)], "version 2 to come back")


def test_a_reload_waits_for_its_models(caller: Caller, whole: Any, prototypes: Path, tmp_path: Path) -> None:
    """Whoever gives up waiting holds up no other; the model is served once it is there."""
    base = tmp_path / "late"
    config = with_models(whole, model("late", base))

    assert refused(lambda: configure(caller, config, timeout=0.5))[0] == "DEADLINE_EXCEEDED"

    configure(caller, whole.config)  # another one is not held up
    done = threading.Thread(target=lambda: configure(caller, config))
    done.start()
    base.mkdir()
    (base / "1").symlink_to(prototypes / "1")
    done.join(60)

    assert not done.is_alive()
    assert predict(caller, "late")[0] == 1


def test_a_later_configuration_ends_the_wait_for_what_it_leaves_out(caller: Caller, whole: Any, tmp_path: Path) -> None:
    """Else a typo in a path would hold up its caller for ever."""
    said, failures = "cannot look for versions of typo", list[tuple[str, str]]()
    before = whole.server.text().count(said)
    config = with_models(whole, model("typo", tmp_path / "none"))
    waiting = threading.Thread(target=lambda: failures.append(refused(lambda: configure(caller, config, timeout=180))))
    waiting.start()
    until(lambda: whole.server.text().count(said) > before, "the first configuration to be in force")
    configure(caller, whole.config)
    waiting.join(60)

    assert failures == [("UNKNOWN", "Some models did not become available: {}")]


def test_an_unloaded_version_is_gone_for_the_client(caller: Caller, whole: Any) -> None:
    """The worker's own client takes it for what it is: to be asked for anew."""
    client = ModelClient(whole.target, timeout=180)
    served = client.describe("two")
    configure(caller, whole.config.replace("all {}", "specific { versions: 1 }"))
    until(lambda: (2, 50) in states(caller, "two"), "version 2 to end")
    with pytest.raises(VersionGoneError):
        client.detect(served, random_images(1))

    assert client.describe("two").version == 1
    client.close()
