"""`shelfline detect` as a process, on a stack that is there, for tests that end it at odd moments."""

from __future__ import annotations

import io
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.processes.shelfline_command import COMMAND_LINE, start_shelfline
from tests.support.stacks.front_stack import FrontStack

COUNT = 600
PADDING = b"\0" * 60_000  # behind the end of each image: an upload takes its time


def jpeg(colour: int) -> bytes:
    """A small image."""
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (colour % 256, colour // 256, 0)).save(out, "JPEG")
    return out.getvalue()


@dataclass
class Command:
    """The command in a folder of its own, on photos that are there."""

    folder: Path
    stack: FrontStack
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where it writes."""
        return self.folder / "out"

    def photos(self, count: int, padding: bytes = PADDING) -> Path:
        """A folder of photos."""
        photos = self.folder / "photos"
        photos.mkdir()
        for number in range(count):
            (photos / f"{number:04}.jpg").write_bytes(jpeg(number) + padding)
        return photos

    def start(
        self, *arguments: object, before: tuple[str, ...] = (), program: tuple[str, ...] = COMMAND_LINE
    ) -> subprocess.Popen[str]:
        """Start it, its output in pipes."""
        detect = ("detect", "--url", self.stack.url, *arguments)
        process = start_shelfline(self.folder, *detect, before=before, program=program)
        self.begun.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left."""
        for process in self.begun:
            process.kill()
            process.communicate()

    def run(self, *arguments: object, before: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Run it to its end: exit status, stdout, stderr."""
        process = self.start(*arguments, before=before)
        out, err = process.communicate(timeout=180)
        return process.returncode, out, err

    def accepted(self) -> bool:
        """Whether it has noted a job."""
        return any(b'"job"' in path.read_bytes() for path in self.out.glob(".shelfline/*/parts.jsonl"))

    def kept(self) -> int:
        """Results that the unfinished run has."""
        return sum(map(count_whole, self.out.glob(".shelfline/*/part-*.jsonl"))) + sum(
            map(count_whole, self.out.glob(".shelfline/*/results.jsonl"))
        )

    def results(self, out: str = "out") -> list[dict[str, Any]]:
        """What it wrote."""
        return [json.loads(line) for line in (self.folder / out / "results.jsonl").read_text().splitlines()]

    def is_whole(self, out: str = "out", count: int = COUNT) -> None:
        """Check that every photo has one result, in order."""
        outcomes = [(result["index"], result["name"], result["state"]) for result in self.results(out)]
        assert outcomes == [(number, f"{number:04}.jpg", "succeeded") for number in range(count)]
        assert not (self.folder / out / ".shelfline").exists()

    def rows(self) -> int:
        """Images that the model has looked at."""
        return sum(self.stack.model.batches)


def count_whole(path: Path) -> int:
    """The lines of a file that is being written."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def slowly(_images: object) -> None:
    """What a model does that takes a while."""
    time.sleep(0.03)
