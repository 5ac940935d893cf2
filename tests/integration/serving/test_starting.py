"""The start of a server whose model is on its way or broken, and one that follows its configuration file."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.machine import free_port
from tests.support.servers.model_server import ServerProcess, publish, random_images, until


@pytest.mark.process
def test_a_model_that_does_not_load_ends_the_start(prototypes: Path, own: ServerProcess) -> None:
    """Unless its folder still changes: then it is on its way here."""
    (own.base / "1").mkdir()
    (own.base / "1" / "saved_model.pb").write_bytes(b"\xff not a model")
    own.start(ready=False)
    assert own.process is not None
    assert own.process.wait(90) == 2
    (line,) = [line for line in own.text().splitlines() if "serving" in line]
    assert line.startswith("python -m serving: no version of default could be loaded: version 1: ")

    (own.base / "1" / "saved_model.pb").write_bytes((prototypes / "1" / "saved_model.pb").read_bytes())
    own.start(ready=False)
    size = 0
    while own.process.poll() is None and size < 80:  # a copy that takes eight seconds, twice the patience
        size += 1
        (own.base / "1" / "copying").write_bytes(b"x" * size)
        time.sleep(0.1)
    assert own.process.poll() is None, own.text()
    partial = publish(prototypes / "1", own.base, 77).rename(own.base / "tmp-whole")
    (partial / "variables").rename(own.base / "1" / "variables")
    until(own.is_ready, "the server to open its port")


def test_the_configuration_file_is_followed(prototypes: Path, own: ServerProcess, tmp_path: Path) -> None:
    """Models come and go with it, what does not parse changes nothing; SIGTERM lets REST requests end too."""
    for name, prototype in (("default", 1), ("slow", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(prototypes / str(prototype))
    first, second = (
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}'
        for name in ("default", "slow")
    )
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {first} }}")
    rest = free_port()
    own.flags = (
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=1",
        f"--rest_api_port={rest}",
    )
    own.start()
    file.write_text("model_config_list {")
    until(lambda: "Error parsing text-format tensorflow.serving.ModelServerConfig" in own.text(), "the complaint")
    file.write_text(f"model_config_list {{ {first} {second} }}")
    with httpx.Client(base_url=f"http://127.0.0.1:{rest}/v1/models", timeout=180) as http:
        until(lambda: '"AVAILABLE"' in http.get("/slow").text, "the second model")
        assert '"AVAILABLE"' in http.get("/default").text
        body = {"signature_name": "detect", "instances": [random_images(1)[0].tolist()]}
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(http.post, "/slow:predict", json=body)
            time.sleep(0.2)  # it takes 0.4 s in the graph; were it over already, the test would pass all the same
            own.signal(signal.SIGTERM)
            assert answer.result().status_code == 200
    assert own.process is not None
    assert own.process.wait(180) == 0
    assert "Traceback" not in own.text()
