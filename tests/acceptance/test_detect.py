"""The main job, end to end, as a user runs it: real processes, the real model, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image, ImageChops

from api.commands.cli import main
from api.commands.stack.state import StackState
from tests.support.in_process import run_in_process
from tests.support.polling import wait_until
from tests.support.processes.shelfline_command import start_shelfline

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = PROJECT / "samples"
NAMES = ["photo-astronaut.jpg", "photo-chelsea.jpg", "photo-coffee.jpg", "photo-grace-hopper.jpg"]
MARK = "SHELFLINE_ACCEPTANCE"  # in the environment of every process that a test's commands start

pytestmark = [pytest.mark.timeout(600)]


@dataclass
class Shell:
    """A user's working directory, with the models that all tests share."""

    folder: Path
    models: Path
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def var(self) -> Path:
        """Where the stack keeps its state."""
        return self.folder / "var"

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command of `shelfline`, its output in pipes."""
        env = {"SHELFLINE_MODELS": str(self.models), MARK: str(self.folder)}
        process = start_shelfline(self.folder, *arguments, env=env)
        self.begun.append(process)
        return process

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command to its end: exit status, stdout, stderr."""
        process = self.start(*arguments)
        out, err = process.communicate()
        return process.returncode, out, err

    def results(self) -> list[dict[str, Any]]:
        """The results that were written."""
        return [json.loads(line) for line in (self.folder / "out" / "results.jsonl").read_text().splitlines()]

    def pictures(self) -> list[str]:
        """The drawn pictures."""
        annotated = self.folder / "out" / "annotated"
        return sorted(str(path.relative_to(annotated)) for path in annotated.rglob("*.jpg"))

    def processes(self) -> dict[psutil.Process, str]:
        """Every process alive that was started from here, by whatever process, with its command line."""
        commands = {}
        for process in psutil.process_iter():
            try:
                # Redis writes over its environment, but works in a folder of ours.
                ours = process.environ().get(MARK) == str(self.folder) or self.var in Path(process.cwd()).parents
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    commands[process] = " ".join(process.cmdline())
            except psutil.Error:  # it has ended meanwhile
                continue
        return commands

    def end(self) -> None:
        """End whatever a failed test left."""
        for process in self.processes():
            process.kill()
        for begun in self.begun:
            begun.communicate()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, exported once: by the project's own checkout if it has been already, and nothing else."""
    weights = hashlib.sha256((PROJECT / "exporter" / "nanodet_coco_weights.npz").read_bytes()).hexdigest()
    there = [version / "assets.extra" / "contract.json" for version in (PROJECT / "models" / "default").glob("[0-9]*")]
    if there and all(contract.exists() and weights in contract.read_text() for contract in there):
        return PROJECT / "models"
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-m", "exporter", "demo", "--models", folder], cwd=PROJECT, check=True)
    return folder


@contextmanager
def working_directory(parent: Path, models: Path) -> Iterator[Shell]:
    """A fresh working directory; what is left running at the end is an error, and ended."""
    folder = parent / "a user's folder"
    folder.mkdir()
    made = Shell(folder, models)
    try:
        yield made
        assert made.processes() == {}
    finally:
        made.end()


@pytest.fixture
def shell(tmp_path: Path, models: Path) -> Iterator[Shell]:
    """A working directory of a test's own."""
    with working_directory(tmp_path, models) as made:
        yield made


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[tuple[Shell, str]]:
    """A stack of `shelfline up`: the directory it runs in, and its address. Ctrl-C ends it."""
    own_models = tmp_path_factory.mktemp("models")
    (own_models / "default").symlink_to(models / "default")
    with working_directory(tmp_path_factory.mktemp("up"), own_models) as shell:
        process = shell.start("up", "--port", "0")
        state = StackState(shell.var)
        wait_until(lambda: state.read() or process.poll() is not None)
        record = state.read()
        assert record is not None
        yield shell, record.url
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert process.returncode == 130, err
        assert f"Shelfline is ready at {record.url}\n" in out
        assert "It has no keys, so it answers this machine only" in out


def _labels(result: dict[str, Any]) -> set[str]:
    return {detection["label"] for detection in result["detections"]}


def test_the_samples_twice(shell: Shell) -> None:
    """One command: results in order, the right things found, pictures drawn; and the same again."""
    for _ in range(2):
        status, out, err = shell.run("detect", SAMPLES)

        assert status == 0, out + err
        results = shell.results()
        assert [(image_result["index"], image_result["name"], image_result["state"]) for image_result in results] == [
            (index, name, "succeeded") for index, name in enumerate(NAMES)
        ]
        by_name = {image_result["name"]: image_result for image_result in results}
        assert "person" in _labels(by_name["photo-astronaut.jpg"])
        assert "person" in _labels(by_name["photo-grace-hopper.jpg"])
        assert "cup" in _labels(by_name["photo-coffee.jpg"])
        assert shell.pictures() == NAMES
        for name, result in by_name.items():
            _check_boxes(result)
            _check_drawn(SAMPLES / name, shell.folder / "out" / "annotated" / name, result)
        last = out.splitlines()[-1]
        detections = sum(len(image_result["detections"]) for image_result in results)
        assert re.fullmatch(
            rf"4 images: 4 succeeded, 0 failed, 1 other file skipped \(1 \.md\), {detections} detections in \d+\.\d s "
            r"\(\d+\.\d images/s\) -> out/results\.jsonl, out/annotated/",
            last,
        ), last
        assert shell.processes() == {}


def _check_boxes(result: dict[str, Any]) -> None:
    """Best first; pixels and normalised boxes are the same boxes, inside the image."""
    scores = [detection["score"] for detection in result["detections"]]
    assert scores == sorted(scores, reverse=True)
    for detection in result["detections"]:
        for name, side in (("ymin", "height"), ("ymax", "height"), ("xmin", "width"), ("xmax", "width")):
            assert detection["box"][name] == pytest.approx(detection["box_normalized"][name] * result[side], abs=0.01)
            assert 0 <= detection["box_normalized"][name] <= 1


def _check_drawn(original: Path, drawn: Path, result: dict[str, Any]) -> None:
    with Image.open(original) as before, Image.open(drawn) as after:
        assert before.size == after.size == (result["width"], result["height"])
        changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).convert("L")
        assert changed.point(lambda value: 255 * (value > 64)).getbbox() is not None


@pytest.mark.process
def test_a_folder_as_people_have_them(shell: Shell) -> None:
    """Nested, with other files; a text that calls itself an image and half a photo fail alone, with a code."""
    photos = shell.folder / "my photos"
    (photos / "deep" / "er").mkdir(parents=True)
    (photos / "notes.txt").write_text("no image")
    (photos / ".hidden.jpg").write_text("no image")
    (photos / "b.jpg").write_text("no image either")
    whole = (SAMPLES / "photo-coffee.jpg").read_bytes()
    (photos / "c.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(SAMPLES / "photo-astronaut.jpg", photos / "a.jpg")
    shutil.copy(SAMPLES / "photo-coffee.jpg", photos / "deep" / "er" / "ü d.JPG")

    status, out, err = shell.run("detect", "my photos")

    assert status == 1, out + err
    results = shell.results()
    assert [(image_result["name"], image_result["state"]) for image_result in results] == [
        ("a.jpg", "succeeded"),
        ("b.jpg", "failed"),
        ("c.jpg", "failed"),
        ("deep/er/ü d.JPG", "succeeded"),
    ]
    assert [image_result["error"]["code"] for image_result in results if "error" in image_result] == [
        "unsupported_format",
        "image_decode_failed",
    ]
    assert shell.pictures() == ["a.jpg", "deep/er/ü d.jpg"]
    assert "b.jpg  unsupported_format: " in out
    assert "c.jpg  image_decode_failed: " in out
    assert out.splitlines()[-1].startswith("4 images: 2 succeeded, 2 failed, 1 other file skipped (1 .txt), ")


@pytest.mark.process
def test_nothing_to_detect(shell: Shell) -> None:
    """An empty and a missing folder, and a wrong option: one clear line, and nothing was started."""
    (shell.folder / "empty").mkdir()
    (shell.folder / "circle").symlink_to("circle")
    status, out, err = shell.run("detect", "empty")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "there are no images" in err
    for arguments, says in (
        (["missing"], "there is no such file or folder"),
        (["x" * 300], "xxx"),
        (["circle"], "circle"),
        (["--url", "http://127.0.0.1:9", SAMPLES], "Nothing answers at http://127.0.0.1:9"),
        (["--url", "http://[::1", SAMPLES], "http://[::1"),
    ):
        done = run_in_process(main, "shelfline", "detect", *arguments, folder=shell.folder)

        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert says in done.stderr
    assert run_in_process(main, "shelfline", "detect", SAMPLES, "--min-score", "2", folder=shell.folder).returncode == 2
    assert not shell.var.exists()


@pytest.mark.process
def test_a_stack_that_is_up_is_used(up: tuple[Shell, str]) -> None:
    """`detect` works with the stack of `up`, by name for its folders, by upload for others, and leaves it running."""
    shell, url = up
    before = {process.pid for process in shell.processes()}
    inside = shell.folder / "inside"
    shutil.copytree(SAMPLES, inside)

    for folder in (inside, SAMPLES):
        status, out, err = shell.run("detect", folder)
        assert (status, out.splitlines()[-1][:32]) == (0, "4 images: 4 succeeded, 0 failed,"), err
        assert [result["name"] for result in shell.results()] == NAMES

    status, out, _ = shell.run("detect", inside / NAMES[2], SAMPLES / NAMES[0], "--min-score", "0.6", "--url", url)
    assert status == 0
    assert [len(result["detections"]) for result in shell.results()] == [0, 1]
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert before <= {process.pid for process in shell.processes()}
    status, _, err = shell.run("up")
    assert status == 2
    assert url in err


@pytest.mark.process
def test_a_model_that_was_just_exported(up: tuple[Shell, str]) -> None:
    """It is served without a setting and a restart; a run that names none says which model it used."""
    shell, _ = up
    photo = SAMPLES / NAMES[0]
    status, _, err = shell.run("detect", "--model", "sku", photo)
    assert status == 2
    assert "There is no model 'sku' here; choose from default" in err
    (shell.models / "sku").symlink_to((shell.models / "default").resolve())

    status, out, err = shell.run("detect", "--model", "sku", photo)

    assert (status, out.splitlines()[-1][:31]) == (0, "1 image: 1 succeeded, 0 failed,"), err
    assert shell.results()[0]["model"] == "sku"
    status, _, err = shell.run("detect", photo)
    assert status == 0
    assert "Using the model default. Also here, for --model: sku." in err
    (shell.models / "sku").unlink()


@pytest.mark.process
@pytest.mark.parametrize("name", ["-m workers.io.embedded_redis", "--app workers.main:app"])
def test_a_process_of_the_stack_that_dies(up: tuple[Shell, str], name: str) -> None:
    """It is started again, and the stack goes on with what it has."""
    shell, url = up
    (main,) = [process for process, command in shell.processes().items() if _is_main(process, command, name)]
    main.kill()
    wait_until(lambda: main not in shell.processes(), what="the end of the process")

    photo = (SAMPLES / "photo-coffee.jpg").read_bytes()
    wait_until(lambda: _detected(url, photo), what="an image that is done")
    assert any(_is_main(process, command, name) for process, command in shell.processes().items())


def _detected(url: str, photo: bytes) -> bool:
    try:
        return httpx.post(f"{url}/v1/detect?wait=5", files={"images": ("a.jpg", photo)}, timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


def _is_main(process: psutil.Process, command: str, name: str) -> bool:
    """Return whether this is the process of a command that its runner started, and no child of it."""
    try:
        parent = process.parent()
        above = " ".join(parent.cmdline()) if parent else ""
    except psutil.NoSuchProcess:
        return False
    return name in command and not command.startswith("/bin/sh") and (name not in above or above.startswith("/bin/sh"))


@pytest.mark.process
def test_what_the_api_refuses(up: tuple[Shell, str]) -> None:
    """Folders outside the roots, missing ones, empty ones, jobs that do not exist: a problem each."""
    shell, url = up
    (shell.folder / "empty").mkdir()
    for folder, status, code in (
        ("/etc", 403, "folder_not_allowed"),
        (f"{shell.folder}/../../x", 403, "folder_not_allowed"),
        ("relative", 403, "folder_not_allowed"),
        (f"{shell.folder}/missing", 422, "folder_not_found"),
        (f"{shell.folder}/empty", 422, "no_images"),
    ):
        answer = httpx.post(f"{url}/v1/jobs", json={"folder": folder})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert httpx.get(f"{url}/v1/jobs/job_x").json()["code"] == "job_not_found"
    assert shell.run("show", "job_x") == (2, "", "Error: " + httpx.get(f"{url}/v1/jobs/job_x").json()["detail"] + "\n")


@pytest.mark.process
def test_a_detect_that_is_killed(shell: Shell) -> None:
    """`kill -9` of the command takes its whole stack with it, at any time."""
    for ready in (lambda state: state.running(), lambda state: state.read()):
        process = shell.start("detect", SAMPLES)
        state = StackState(shell.var)
        wait_until(partial(ready, state))
        process.kill()

        wait_until(lambda: shell.processes() == {})


@pytest.mark.process
def test_a_stack_that_is_killed(shell: Shell) -> None:
    """`kill -9` of the stack's own process leaves none of its children."""
    process = shell.start("up", "--port", "0")
    wait_until(lambda: StackState(shell.var).read())
    assert len(shell.processes()) > 4
    process.kill()

    wait_until(lambda: shell.processes() == {})


@pytest.mark.process
def test_what_a_killed_stack_leaves_is_not_believed(shell: Shell) -> None:
    """Its record may name a process that is another one by now; its jobs are nobody's."""
    shell.var.mkdir()
    (shell.var / "stack.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1, "log": null}')
    leftover = shell.var / "run" / "redis"
    leftover.mkdir(parents=True)
    (leftover / "rubbish").write_text("of a run that was killed")

    status, out, err = shell.run("detect", SAMPLES)

    assert status == 0, out + err
    assert not (shell.var / "run").exists()


@pytest.mark.process
def test_links_out_of_the_folder_are_followed(shell: Shell) -> None:
    """The user's own links are the user's own photos; one that leads in a circle fails alone."""
    photos = shell.folder / "photos"
    photos.mkdir()
    (photos / "coffee.jpg").symlink_to(SAMPLES / "photo-coffee.jpg")
    shutil.copy(SAMPLES / "photo-astronaut.jpg", photos / "a.jpg")

    status, out, err = shell.run("detect", "photos")

    assert status == 0, out + err
    assert [result["name"] for result in shell.results()] == ["a.jpg", "coffee.jpg"]


@pytest.mark.process
def test_an_interrupted_detect(shell: Shell) -> None:
    """Ctrl-C ends the run and its stack in order, with the status that shells expect; no job is left behind."""
    process = shell.start("detect", SAMPLES)
    wait_until(lambda: StackState(shell.var).running())
    process.send_signal(signal.SIGINT)

    _, err = process.communicate()

    assert process.returncode == 130
    assert "Traceback" not in err
    assert shell.processes() == {}
    assert not (shell.var / "run").exists()


@pytest.mark.process
def test_a_process_of_the_stack_that_dies_again_and_again(shell: Shell) -> None:
    """Then the rest ends, and the command says so in one line with the log's path."""
    process = shell.start("detect", SAMPLES)

    def ended() -> bool:
        for child, command in shell.processes().items():
            if _is_main(child, command, "-m workers.io.embedded_redis"):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        return process.poll() is not None

    wait_until(ended, what="the end of the command")
    _, err = process.communicate()

    assert process.returncode == 2
    lines = [line for line in err.splitlines() if line.strip()]
    assert str(shell.var / "stack.log") in lines[-1]
    assert "Traceback" not in err
    assert shell.processes() == {}


@pytest.mark.process
def test_two_at_once(shell: Shell) -> None:
    """Two commands share one stack, whoever started it, and the last one takes it down."""
    first = shell.start("detect", SAMPLES, "--out", "out1")
    second = shell.start("detect", SAMPLES, "--out", "out2")

    for process in (first, second):
        out, err = process.communicate()
        assert process.returncode == 0, out + err
    wait_until(lambda: shell.processes() == {})


@pytest.mark.process
def test_a_detect_that_is_killed_goes_on(shell: Shell) -> None:
    """Its stack dies with it; run again, the same command has every image once, and keeps what it had."""
    photos = shell.folder / "photos"
    photos.mkdir()
    for number in range(160):
        shutil.copy(SAMPLES / NAMES[number % 4], photos / f"{number:03}.jpg")

    def kept() -> int:
        return sum(path.read_bytes().count(b"\n") for path in (shell.folder / "out").glob(".shelfline/*/part-*.jsonl"))

    process = shell.start("detect", photos, "--annotate", "3")
    wait_until(lambda: kept() > 0 or process.poll() is not None)
    process.kill()
    wait_until(lambda: shell.processes() == {})
    before = kept()
    assert 0 < before < 160

    status, out, err = shell.run("detect", photos, "--annotate", "3", "--format", "csv")

    assert status == 0, out + err
    assert f"Going on: {before} of 160 images are done." in err
    assert f", {before} of the images done before -> out/results.jsonl" in out
    assert [(result["index"], result["name"]) for result in shell.results()] == [(n, f"{n:03}.jpg") for n in range(160)]
    assert len((shell.folder / "out" / "results.csv").read_text().splitlines()) > 160
    assert shell.pictures() == ["000.jpg", "001.jpg", "002.jpg"]
    assert not (shell.folder / "out" / ".shelfline").exists()
