"""What a run keeps beside its results, so that it can be killed at any point and goes on where it was.

In `<out>/.shelfline/<run>/`: `run.json` (what was asked), `photos.jsonl` (in the order of the results), `parts.jsonl`
(which photos are which job), `part-<start>.jsonl` (results of a part as they come) and `results.jsonl` (of all parts
up to the first that is not complete). All but the first are appended to, whole lines; a torn last line is cut off. How
many results there are is the number of lines, so nothing can say otherwise.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from api.commands.detect.line_files import PIECE_BYTES, count_results, kept_lines, writing
from api.commands.detect.photos import Photo
from api.commands.errors import UsageError
from serving.contract import Contract
from serving.errors import ShelflineError

RUNS = ".shelfline"


@dataclass
class Part:
    """Photos that are one job: those from index `start` to before `end`.

    `job` is empty until the job was accepted. `unreadable` says of photos, by index, why they were sent empty.
    """

    start: int
    end: int
    key: str
    job: str = ""
    by_reference: bool = False
    unreadable: dict[int, str] = field(default_factory=dict)
    fetched: int = 0  # results that are kept here
    failed: int = 0  # of these

    @property
    def size(self) -> int:
        """How many photos."""
        return self.end - self.start

    @property
    def complete(self) -> bool:
        """Whether all its results are here."""
        return self.fetched >= self.size


class Journal:
    """The state of one run on disk. Every method raises OutputError where the disk is full or away."""

    def __init__(self, folder: Path, asked: Mapping[str, Any], abandoned: Sequence[str] = ()) -> None:
        """`abandoned` are jobs of a run that was forgotten for this one."""
        self.folder = folder
        self.abandoned = abandoned
        self.results = folder / "results.jsonl"
        self._photos = folder / "photos.jsonl"
        self._parts = folder / "parts.jsonl"
        self._contract = folder / "contract.json"
        with writing(folder):
            self.new = not (folder / "run.json").exists()
            if self.new:
                beside = folder / "run.json.new"
                beside.write_text(json.dumps({"run": secrets.token_hex(8), "asked": asked}))
                beside.replace(folder / "run.json")
            self.run = str(json.loads((folder / "run.json").read_text())["run"])
            self.photos: list[Photo] = [Photo(*one) for one in kept_lines(self._photos)]
            self.parts: dict[int, Part] = {}
            for event in kept_lines(self._parts):
                self._apply(event)
            self.merged, self.failed = count_results(self.results)
            for part in self.parts.values():
                self.recount(part)
                if part.end <= self.merged:
                    part.fetched, part.failed = part.size, 0  # counted with those that are merged
                    self.part_file(part).unlink(missing_ok=True)

    @property
    def done(self) -> int:
        """How many results are here."""
        return sum(part.fetched for part in self.parts.values())

    @property
    def finished(self) -> bool:
        """Whether all results of all photos are merged."""
        return self.merged == len(self.photos) > 0

    def part_file(self, part: Part) -> Path:
        """Where a part's results are until they are merged."""
        return self.folder / f"part-{part.start}.jsonl"

    def add_photos(self, photos: Sequence[Photo]) -> None:
        """Photos that come behind those there are."""
        with writing(self._photos), self._photos.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(astuple(one)) + "\n" for one in photos)
        self.photos += photos

    @property
    def contract(self) -> Contract | None:
        """The model's contract, where it was kept."""
        with suppress(OSError, ShelflineError):
            return Contract.from_json(self._contract.read_text())
        return None

    def keep_contract(self, contract: Contract) -> None:
        """Keep the model's contract: formats name labels by it."""
        with writing(self._contract):
            self._contract.write_text(contract.to_json())

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The photos that are in no part, as ranges."""
        behind = 0
        for start in sorted(self.parts):
            if start > behind:
                yield behind, start
            behind = max(behind, self.parts[start].end)
        if behind < len(self.photos):
            yield behind, len(self.photos)

    def unfinished_jobs(self) -> Sequence[str]:
        """The jobs whose results are not all here."""
        return [part.job for part in self.parts.values() if part.job and not part.complete]

    def add_part(self, start: int, end: int) -> None:
        """A new part, with a key of its own for its submission."""
        self._write({"part": start, "end": end, "key": secrets.token_hex(16)})

    def accepted(self, part: Part, job: str, unreadable: Mapping[int, str], *, by_reference: bool) -> None:
        """A part has become a job."""
        told = {str(index): why for index, why in unreadable.items()}
        self._write({"job": job, "of": part.start, "by_reference": by_reference, "unreadable": told})

    def cut(self, part: Part) -> None:
        """A part ends where its results end; what is behind is in no part again."""
        self._write({"cut": part.start, "at": part.start + part.fetched})

    def recount(self, part: Part) -> None:
        """Take the number of a part's results from its file."""
        with writing(self.folder):
            part.fetched, part.failed = count_results(self.part_file(part))

    def merge(self) -> list[Part]:
        """Put the results of complete parts behind those that are merged, in order; returns these parts."""
        found = []
        while (part := self._next()) and part.complete:
            with writing(self.results), self.results.open("ab") as into, self.part_file(part).open("rb") as part_file:
                for _ in range(self.merged - part.start):  # merged before the run was killed
                    part_file.readline()
                shutil.copyfileobj(part_file, into, PIECE_BYTES)
                into.flush()
                os.fsync(into.fileno())  # behind this the job may be deleted
            self.merged = part.end
            self.failed, part.failed = self.failed + part.failed, 0
            self.part_file(part).unlink(missing_ok=True)
            found.append(part)
        return found

    def remove(self) -> None:
        """Forget the run, at once or not at all."""
        aside = self.folder.with_name(f"{self.folder.name}.{self.run}.old")
        with suppress(OSError):
            self.folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # another run's state is beside it
            self.folder.parent.rmdir()

    def _next(self) -> Part | None:
        return next((part for part in self.parts.values() if part.start <= self.merged < part.end), None)

    def _write(self, event: Mapping[str, Any]) -> None:
        with writing(self._parts), self._parts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        if "part" in event:
            self.parts[event["part"]] = Part(event["part"], event["end"], event["key"])
        elif "job" in event:
            part = self.parts[event["of"]]
            part.job, part.by_reference = event["job"], event["by_reference"]
            part.unreadable = {int(index): why for index, why in event["unreadable"].items()}
        else:
            part = self.parts[event["cut"]]
            part.end = event["at"]
            if not part.size:
                del self.parts[part.start]


@contextmanager
def opened_journal(out: Path, identity: str, asked: Mapping[str, Any], *, restart: bool = False) -> Iterator[Journal]:
    """The journal of a run in an output folder, for this process alone.

    Raises UsageError where another process has it or it is damaged, OutputError.
    """
    folder = out / RUNS / identity
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"Another command works on the same into {out}: wait for it, or use another --out."
            ) from error
        abandoned: Sequence[str] = ()
        for removed in folder.parent.glob(f"{identity}.*.old"):  # by a command that was killed meanwhile
            shutil.rmtree(removed, ignore_errors=True)
        if restart:
            with suppress(UsageError):  # nothing of it need be whole
                abandoned = _read(folder, asked).unfinished_jobs()
            with writing(folder):
                for one in folder.iterdir():
                    one.unlink()
        yield _read(folder, asked, abandoned)
    finally:
        os.close(lock)


def _read(folder: Path, asked: Mapping[str, Any], abandoned: Sequence[str] = ()) -> Journal:
    try:
        return Journal(folder, asked, abandoned)
    except (ValueError, LookupError, TypeError) as error:  # not what it wrote: after a power failure, say
        raise UsageError(f"What {folder} says of an interrupted run is damaged: start over with --restart.") from error


def find_run(out: Path, job: str) -> Mapping[str, Any] | None:
    """What was asked of the run in an output folder that has a job; None where there is none."""
    for parts in sorted((out / RUNS).glob("*/parts.jsonl")):
        with suppress(OSError, ValueError, KeyError), parts.open(encoding="utf-8") as file:
            if any(json.dumps({"job": job})[1:-1] in line for line in file):
                asked: Mapping[str, Any] = json.loads((parts.parent / "run.json").read_text())["asked"]
                return asked
    return None
