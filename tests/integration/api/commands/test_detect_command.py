"""`shelfline detect` killed, interrupted and out of room in the middle of a run, and taken up again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from api.client.client import ShelflineClient
from api.commands.cli import main
from tests.support.in_process import run_in_process
from tests.support.polling import wait_until
from tests.support.processes.detect_command import COUNT, Command, count_whole, jpeg, slowly
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack
from workers.jobs.job import JobState

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontStack]:
    with front_stack(redis_server, tmp_path_factory.mktemp("detect")) as made:
        yield made


@pytest.fixture
def command(stack: FrontStack, request: pytest.FixtureRequest) -> Iterator[Command]:
    folder = stack.settings.folder_roots[0] / request.node.name.replace("/", "_")
    folder.mkdir()
    stack.model.batches.clear()
    stack.model.fault = slowly  # it succeeds, after a while
    made = Command(folder, stack)
    yield made
    made.end()
    stack.model.go.set()


@pytest.mark.parametrize("how", ["--upload", "--annotate=5"])
def test_killed_again_and_again(command: Command, how: str) -> None:
    """Killed with -9 while it sends, while it waits and while it fetches: complete, no image twice, none done twice."""
    photos = command.photos(COUNT)
    model, held = command.stack.model, [True]

    def stop_at_400(images: object) -> None:  # so that no kill comes too late
        slowly(images)
        if held and command.rows() >= 400:
            model.go.clear()

    model.fault = stop_at_400  # it succeeds, after a while
    for least in (-1, 0, 50, 300):
        process = command.start(photos, how)

        def sent_or_fetched(least: int = least, process: subprocess.Popen[str] = process) -> bool:
            if process.poll() is not None:
                return True
            if least < 0:
                return any(command.out.glob(".shelfline/*/parts.jsonl"))
            return command.accepted() and command.kept() >= least

        wait_until(sent_or_fetched)
        assert process.poll() is None
        process.kill()
        process.communicate()
    before = command.kept()
    held.clear()
    model.go.set()

    status, out, err = command.run(photos, how)

    assert status == 0, err
    command.is_whole()
    assert f"Going on: {before} of 600 images are done" in err
    assert command.rows() == COUNT
    assert ", 0 failed, " in out


def test_killed_in_its_last_words(command: Command) -> None:
    """Nobody has read the report then: the same command tells it, and does nothing again."""
    photos = command.photos(20, b"")
    dies = "report.Report.show = lambda *_: os.kill(os.getpid(), 9)"
    dying = f"import os; from api.commands import cli; from api.commands.detect import report; {dies}; cli.main()"
    process = command.start(photos, program=("-c", dying))
    process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL

    status, out, err = command.run(photos)

    assert (status, "Going on: 20 of 20 images are done" in err) == (0, True), err
    assert "20 images: 20 succeeded" in out
    command.is_whole(count=20)
    assert command.rows() == 20


def test_interrupted_and_come_back_to(command: Command) -> None:
    """Ctrl-C says what goes on and how to come back: by the same command, by the job here, by the job elsewhere."""
    photos = command.photos(40, b"")
    command.stack.model.go.clear()
    process = command.start(photos)
    wait_until(lambda: command.accepted() and command.stack.model.batches)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130
    said = err.strip().splitlines()[-1]
    assert said.startswith(f"Interrupted: 0 of 40 images are done, {command.stack.url} goes on with 40. Come back by")
    job = said.split("--resume ")[1].split("`")[0]
    command.stack.model.go.set()

    status, out, err = command.run("--resume", job, "--out", "elsewhere", "--format", "coco")
    assert status == 0, err
    names = [result["name"] for result in command.results("elsewhere")]
    assert names == [f"{number:04}.jpg" for number in range(40)]
    coco = json.loads((command.folder / "elsewhere" / "results.coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == names
    assert len(list((command.folder / "elsewhere" / "annotated").rglob("*.jpg"))) == 40

    status, out, err = command.run("--resume", job)
    assert status == 0, err
    command.is_whole(count=40)
    assert command.rows() == 40
    assert len(list((command.out / "annotated").glob("*.jpg"))) == 40
    assert "40 images: 40 succeeded" in out


def test_no_room_for_the_results(command: Command) -> None:
    """One line that says where and what to do, exit status 2; with room again it goes on, and repeats nothing."""
    photos = command.photos(300, b"")
    limited = ("/bin/bash", "-c", 'ulimit -f 70; exec "$@"', "-")

    status, _, err = command.run(photos, "--upload", before=limited)

    assert status == 2
    assert "Traceback" not in err
    said = err.strip().splitlines()
    assert said[-1].startswith("Error: ")
    assert "cannot be written (File too large): make room" in said[-1]
    assert "300 images are done and kept. The same command goes on from there." in said[-2]
    status, _, err = command.run(photos, "--upload")
    assert status == 0, err
    command.is_whole(count=300)
    assert command.rows() == 300


def test_started_over(command: Command) -> None:
    """`--restart` forgets what was done; other options are another run, which harms neither."""
    photos = command.photos(20, b"")
    command.stack.model.go.clear()
    process = command.start(photos)
    wait_until(lambda: command.stack.model.batches)
    process.kill()
    process.communicate()
    command.stack.model.go.set()
    wait_until(lambda: command.rows() == 20)

    assert command.run(photos, "--limit", "3", "--exclude", "*0.jpg")[0] == 0
    assert [result["name"] for result in command.results()] == ["0001.jpg", "0002.jpg", "0003.jpg"]
    status, _, err = command.run(photos, "--restart")
    assert (status, "Going on" in err) == (0, False)
    command.is_whole(count=20)
    assert command.rows() == 43


def test_started_over_while_the_server_works(command: Command) -> None:
    """What was left there is canceled: nobody waits for it."""
    photos = command.photos(40, b"")
    command.stack.model.go.clear()
    process = command.start(photos)
    wait_until(lambda: command.accepted() and command.stack.model.batches)
    process.kill()
    process.communicate()
    with ShelflineClient(command.stack.url) as client:
        (left,) = [job.id for job in client.jobs() if not job.state.terminal]
        again = command.start(photos, "--restart")
        wait_until(lambda: client.job(left).counts.canceled > 0)
        command.stack.model.go.set()
        _, err = again.communicate(timeout=180)
        assert again.returncode == 0, err
        *_, over = client.wait(left)
    assert over.state is JobState.CANCELED
    command.is_whole(count=40)


def test_photos_as_they_arrive(command: Command) -> None:
    """New ones are detected, one that is being written when it is whole; killed and started again, none is missed."""
    photos = command.folder / "photos"
    photos.mkdir()
    process = command.start(photos, "--watch-folder")
    wait_until((command.out / "results.jsonl").exists)
    (photos / "a.jpg").write_bytes(jpeg(1))
    with (photos / "b.jpg").open("wb") as file:
        file.write(jpeg(2)[:100])
        file.flush()
        wait_until(lambda: count_whole(command.out / "results.jsonl") == 1)
        file.write(jpeg(2)[100:])
    wait_until(lambda: count_whole(command.out / "results.jsonl") == 2)
    wait_until((command.out / "annotated" / "b.jpg").exists)
    process.kill()
    process.communicate()
    (photos / "c.jpg").write_bytes(jpeg(3))
    process = command.start(photos, "--watch-folder")
    wait_until(lambda: count_whole(command.out / "results.jsonl") == 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)

    assert process.returncode == 130
    assert "Watching ended" in err
    assert "3 images: 3 succeeded" in out
    assert [(result["name"], result["state"]) for result in command.results()] == [
        (f"{name}.jpg", "succeeded") for name in "abc"
    ]
    assert command.rows() == 3


def test_a_photo_that_is_written_anew_while_it_is_watched(command: Command) -> None:
    """It has two results, and one picture: of the photo that is there. Started again, it is still the only one."""
    photos = command.folder / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg(1))
    picture = command.out / "annotated" / "a.jpg"
    process = command.start(photos, "--watch-folder")
    wait_until(picture.exists)
    before = picture.stat().st_mtime_ns
    (photos / "a.jpg").write_bytes(jpeg(200))
    wait_until(lambda: count_whole(command.out / "results.jsonl") == 2)
    wait_until(lambda: picture.stat().st_mtime_ns > before)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=180)
        assert [path.name for path in (command.out / "annotated").glob("*.jpg")] == ["a.jpg"]
        picture.unlink()
        process = command.start(photos, "--watch-folder")
        wait_until(picture.exists)
    assert [result["name"] for result in command.results()] == ["a.jpg", "a.jpg"]
    assert command.rows() == 2


def test_what_is_told_wrongly(command: Command) -> None:
    """One line each, that says what to do; exit status 2."""
    photos, url = command.photos(1, b""), command.stack.url
    status, out, err = command.run(photos / "missing")
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert "there is no such file or folder" in err
    for arguments, says in (
        ((), "Name folders or files of photos, or --resume a job"),
        ((photos, "--resume", "job_x"), "Name folders or files of photos, or --resume a job"),
        (("--resume", "job_x"), "There is no job"),
        ((photos, "--include", "[z-a]"), "'[z-a]' is not a glob"),
        ((photos, "--include", "*.png"), "None of 1 image is taken"),
        ((photos, "--model", "nope"), "nope"),
        ((photos, "--tiles", "what"), "tiles"),
        ((photos, "--out", photos / "0000.jpg"), "cannot be made"),
    ):
        done = run_in_process(main, "shelfline", "detect", "--url", url, *arguments, folder=command.folder)
        assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1), done.stderr
        assert says in done.stderr
    assert count_whole(command.out / "results.jsonl") == 0
