import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.client import ModelClient
from serving.contract import VersionStatus
from serving.errors import ContractError, ModelUnavailableError, RowsRejectedError, VersionGoneError
from tests.support.machine import free_port
from tests.support.models import tiny_contract
from tests.support.servers.model_server import MARKER, ServerProcess, publish, random_images, until


def test_a_model_describes_itself_and_detects(client: ModelClient) -> None:
    """The way every worker goes: status, contract, detections of the pinned version."""
    served = client.describe("default")
    rows = client.detect(served, random_images(5))

    assert client.status("default") == [VersionStatus(1, "AVAILABLE", "")]
    assert (served.version, served.contract) == (1, tiny_contract())
    assert len(rows) == 5
    assert all(1 <= len(row) <= 4 for row in rows)
    assert all((np.diff(row.scores) < 0).all() for row in rows)
    assert client.describe("default", 1) == served
    assert client.detect(served, random_images(0)) == []


def test_a_row_is_answered_alike_in_any_batch(client: ModelClient) -> None:
    """What isolation is tested with has to be batch-invariant itself, byte for byte."""
    served = client.describe("default")
    images = random_images(6)
    together = client.detect(served, images)
    alone = [client.detect(served, images[row : row + 1])[0] for row in range(6)]

    for batched, single in zip(together, alone, strict=True):
        assert batched.boxes.tobytes() == single.boxes.tobytes()
        assert batched.scores.tobytes() == single.scores.tobytes()
        assert batched.classes.tobytes() == single.classes.tobytes()
    assert len({row.boxes.tobytes() for row in together}) > 1


def test_a_marked_image_fails_its_batch_and_nothing_else(client: ModelClient) -> None:
    """The graph raises; calls before, after and beside it are answered."""
    served = client.describe("default")
    good, bad = random_images(3), random_images(3)
    bad[1, 0, 0] = MARKER

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.detect, served, bad if n % 2 else good) for n in range(20)]

    for number, answer in enumerate(answers):
        error = answer.exception()
        if number % 2:
            assert isinstance(error, RowsRejectedError)
            assert "marked image in the batch" in str(error)
            assert "Traceback" not in str(error)
        else:
            assert error is None


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 32, 31, 3), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
    ],
)
def test_images_of_another_form_never_leave(client: ModelClient, images: np.ndarray) -> None:
    """That is the caller's mistake, no model's."""
    with pytest.raises(ValueError, match="takes uint8"):
        client.detect(client.describe("default"), images)


def test_a_version_that_is_not_served_is_gone(client: ModelClient) -> None:
    """The worker then fetches the contract again."""
    gone = replace(client.describe("default"), version=9)

    with pytest.raises(VersionGoneError, match=r"Specific\(default, 9\)"):
        client.detect(gone, random_images(1))
    with pytest.raises(VersionGoneError, match=r"Latest\(other\)"):
        client.describe("other")
    with pytest.raises(VersionGoneError, match="Could not find any versions of model other"):
        client.status("other")


def test_nobody_at_the_address_is_unavailable() -> None:
    """Within the timeout, and with the address in the message."""
    client = ModelClient(f"127.0.0.1:{free_port()}", timeout=5)

    with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1"):
        client.status("default")
    client.close()


def test_a_client_opens_nothing_before_its_first_call() -> None:
    """So it may be made before a fork; closing it is no end either."""
    client = ModelClient("127.0.0.1:1")

    assert client._channels == {}
    assert "127.0.0.1:1" in repr(client)
    client.close()


@pytest.mark.process
def test_a_model_that_does_not_describe_itself_says_what_to_do(prototypes: Path, own: ServerProcess) -> None:
    """The course's own, say."""
    publish(prototypes / "3", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)

    with pytest.raises(ContractError, match="export it with Shelfline's exporter"):
        client.describe("default")
    client.close()


@pytest.mark.process
def test_an_answer_larger_than_grpcs_default_passes(prototypes: Path, own: ServerProcess) -> None:
    """Of 32 rows of 10 000 detections, 7.7 MB; gRPC's default stops at 4 MiB."""
    publish(prototypes / "4", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)
    rows = client.detect(client.describe("default"), random_images(32))

    assert len(rows) == 32
    assert max(len(row) for row in rows) > 5000
    client.close()


@pytest.mark.process
def test_the_client_is_back_at_once_after_a_restart(prototypes: Path, own: ServerProcess) -> None:
    """Same port, same channel: the errors between are ModelUnavailableError, and end."""
    publish(prototypes / "1", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=5)
    served = client.describe("default")
    own.end()
    with pytest.raises(ModelUnavailableError):
        client.detect(served, random_images(1))
    own.start()

    def answers() -> bool:
        try:
            return len(client.detect(served, random_images(1))) == 1
        except ModelUnavailableError:
            return False

    until(answers, "the client to find the server again")
    client.close()


@pytest.mark.process
def test_a_new_version_goes_live_under_calls(prototypes: Path, own: ServerProcess) -> None:
    """Not one error for those who name no version; those who pin the old one are told that it is gone."""
    publish(prototypes / "1", own.base, 1)
    own.start()
    client = ModelClient(own.target, timeout=180)
    old = client.describe("default")
    seen: list[int] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def keep_calling() -> None:
        while not stop.is_set():
            try:
                seen.append(client.describe("default").version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails of it
                errors.append(error)

    callers = [threading.Thread(target=keep_calling) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        publish(prototypes / "2", own.base, 2)
        until(lambda: client.status("default")[-1].state == "END", "version 1 to be unloaded")
        until(lambda: seen[-1] == 2, "the new version to answer")
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    assert errors == []
    assert set(seen) == {1, 2}
    assert [(item.version, item.state) for item in client.status("default")] == [(2, "AVAILABLE"), (1, "END")]
    with pytest.raises(VersionGoneError):
        client.detect(old, random_images(1))
    new = client.describe("default")
    assert len(client.detect(new, random_images(1))) == 1
    client.close()


def test_a_channel_closed_meanwhile_is_unavailable(client: ModelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """ValueError is what grpc raises then, which must not reach a worker."""
    closed = grpc.insecure_channel("127.0.0.1:1")
    closed.close()
    monkeypatch.setattr(client, "_open", lambda _max_bytes: closed)

    with pytest.raises(ModelUnavailableError, match="closed"):
        client.status("default")
