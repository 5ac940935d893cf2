"""The journal of a run: its state on disk, so that a run can be killed at any point and continued.

The folder `<out>/.shelfline/<run>/` has these files:

- `run.json`: the arguments of the command
- `photos.jsonl`: the photos, in the order of the results
- `parts.jsonl`: which photos are in which job
- `part-<start>.jsonl`: the results of a run part, in the order in which they were fetched
- `results.jsonl`: the results of all parts before the first incomplete one

The `.jsonl` files only grow, by whole lines; an incomplete last line is cut off. The number of results is the number of
lines, and it is stored nowhere else, so that it cannot be wrong.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from api.commands.detect.line_files import count_results, kept_lines, writing
from api.commands.detect.photos import Photo
from api.commands.errors import UsageError
from serving.contract import Contract
from serving.errors import ShelflineError
from workers.io.local_files import sync

RUNS = ".shelfline"


@dataclass
class Part:
    """A run part: the photos of one job, from index `start` up to but not including `end`.

    `key` is the idempotency key of its submission. `job` is "" until the job is accepted. `unreadable` gives, by photo
    index, why a file could not be read.
    """

    start: int
    end: int
    key: str
    job: str = ""
    by_reference: bool = False
    unreadable: dict[int, str] = field(default_factory=dict)
    fetched: int = 0  # results that are on this disk
    failed: int = 0  # how many of these failed
    fetched_at: float = -math.inf  # the time of the last fetch (monotonic)
    settled: int = 0  # photos that were done when the server was asked last
    settled_badly: int = 0  # how many of these failed or were canceled

    @property
    def size(self) -> int:
        """The number of photos."""
        return self.end - self.start

    @property
    def complete(self) -> bool:
        """True if all results of the part are on this disk."""
        return self.fetched >= self.size


class Journal:
    """The state of one run on disk. Every method raises OutputError if it cannot write (disk full or missing)."""

    def __init__(self, folder: Path, arguments: Mapping[str, Any], abandoned: Sequence[str] = ()) -> None:
        """Read the journal in a folder, or start a new one; `abandoned` are the jobs of the run that it replaces.

        Raises ValueError, LookupError or TypeError if its files are damaged or do not belong together.
        """
        self.folder = folder
        self.abandoned = abandoned
        self.results = folder / "results.jsonl"
        self._photos = folder / "photos.jsonl"
        self._parts = folder / "parts.jsonl"
        self._contract = folder / "contract.json"
        with writing(folder):
            self.new = not (folder / "run.json").exists()
            if self.new:
                if any(file.name != "run.json.new" for file in folder.iterdir()):
                    raise ValueError("run.json is missing, but not the other files")
                beside = folder / "run.json.new"
                beside.write_text(json.dumps({"run": secrets.token_hex(8), "asked": arguments}))
                sync(str(beside))
                beside.replace(folder / "run.json")
            self.run = str(json.loads((folder / "run.json").read_text())["run"])
            self.photos: list[Photo] = [Photo(*fields) for fields in kept_lines(self._photos)]
            self.parts: dict[int, Part] = {}
            for event in kept_lines(self._parts):
                self._apply(event)
            self.merged, self.failed = count_results(self.results)
            for part in self.parts.values():
                if part.end <= self.merged:
                    part.fetched = part.size  # its failures are counted with the merged results
                    self.part_file(part).unlink(missing_ok=True)
            self.recount()
            self._check_complete()

    @property
    def done(self) -> int:
        """The number of results that are on this disk."""
        return sum(part.fetched for part in self.parts.values())

    @property
    def finished(self) -> bool:
        """True if the results of all photos are merged."""
        return self.merged == len(self.photos) > 0

    def in_order(self) -> list[Part]:
        """Return the parts in the order of their photos."""
        return sorted(self.parts.values(), key=lambda part: part.start)

    def part_file(self, part: Part) -> Path:
        """Return the file that holds the results of a part until they are merged."""
        return self.folder / f"part-{part.start}.jsonl"

    def add_photos(self, photos: Sequence[Photo]) -> None:
        """Append photos to the run."""
        self._append(self._photos, (json.dumps(astuple(photo)) + "\n" for photo in photos))
        self.photos += photos

    @property
    def contract(self) -> Contract | None:
        """The model's contract, None if it was not kept."""
        with suppress(OSError, ShelflineError):
            return Contract.from_json(self._contract.read_text())
        return None

    def keep_contract(self, contract: Contract) -> None:
        """Keep the model's contract, since the formats take label names from it."""
        with writing(self._contract):
            self._contract.write_text(contract.to_json())

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the photos that are in no part, as ranges (start, end) of indexes; `end` is exclusive."""
        end = 0  # of the parts so far
        for part in self.in_order():
            if part.start > end:
                yield end, part.start
            end = max(end, part.end)
        if end < len(self.photos):
            yield end, len(self.photos)

    def unfinished_jobs(self) -> Sequence[str]:
        """Return the ids of the jobs whose results are not all on this disk."""
        return [part.job for part in self.parts.values() if part.job and not part.complete]

    def add_part(self, start: int, end: int) -> None:
        """Add a part with a new idempotency key."""
        self._write({"part": start, "end": end, "key": secrets.token_hex(16)})

    def accepted(self, part: Part, job: str, unreadable: Mapping[int, str], *, by_reference: bool) -> None:
        """Record that the job of a part was accepted."""
        reasons = {str(index): reason for index, reason in unreadable.items()}
        self._write({"job": job, "of": part.start, "by_reference": by_reference, "unreadable": reasons})

    def cut(self, part: Part) -> None:
        """End a part after its last fetched result; its other photos are in no part again."""
        self._write({"cut": part.start, "at": part.start + part.fetched})

    def recount(self) -> None:
        """Count the results of the parts that are not merged, from their files; a write may have been interrupted."""
        for part in self.parts.values():
            if part.end > self.merged:
                with writing(self.folder):
                    part.fetched, part.failed = count_results(self.part_file(part))

    def merge(self) -> list[Part]:
        """Append the results of complete parts to `results.jsonl`, in order; returns these parts."""
        merged = []
        while (part := self._next()) and part.complete:
            with writing(self.results), self.results.open("ab") as into, self.part_file(part).open("rb") as part_file:
                for _ in range(self.merged - part.start):  # skip results that were merged before a kill
                    part_file.readline()
                shutil.copyfileobj(part_file, into)
                into.flush()
                os.fsync(into.fileno())  # the server's job may be deleted after this
                sync(str(self.folder))
            self.merged = part.end
            self.failed, part.failed = self.failed + part.failed, 0
            self.part_file(part).unlink(missing_ok=True)
            merged.append(part)
        return merged

    def remove(self) -> None:
        """Delete the journal; the folder is renamed first, so that a kill leaves it complete or gone."""
        aside = self.folder.with_name(f"{self.folder.name}.{self.run}.old")
        with suppress(OSError):
            self.folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # the folder may have other runs
            self.folder.parent.rmdir()

    def _check_complete(self) -> None:
        """Raise ValueError if the parts do not explain all results, so that photos would be sent and counted twice.

        Each result belongs to a part: the merged ones to the first parts, without a gap, the others to the part that
        their file is named after. That is not so if `parts.jsonl` or `photos.jsonl` is lost or cut off.
        """
        end = 0  # of the parts so far
        for part in self.in_order():
            if part.start < end or part.end > len(self.photos) or part.fetched > part.size:
                raise ValueError(f"part {part.start} cannot be")
            end = part.end
        if self.merged > next((start for start, _ in self.gaps()), len(self.photos)):
            raise ValueError("there are results of photos that are in no part")
        files = {self.part_file(part) for part in self.parts.values()}
        for file in self.folder.glob("part-*.jsonl"):
            if file not in files and count_results(file) != (0, 0):
                raise ValueError(f"{file.name} has results, but there is no such part")

    def _next(self) -> Part | None:
        return next((part for part in self.parts.values() if part.start <= self.merged < part.end), None)

    def _write(self, event: Mapping[str, Any]) -> None:
        self._append(self._parts, [json.dumps(event) + "\n"])
        self._apply(event)

    def _append(self, path: Path, lines: Iterable[str]) -> None:
        """Append lines to a file, and sync them before anything is sent that they tell of."""
        with writing(path):
            is_new = not path.exists()
            with path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(str(self.folder))

    def _apply(self, event: Mapping[str, Any]) -> None:
        if "part" in event:
            self.parts[event["part"]] = Part(event["part"], event["end"], event["key"])
        elif "job" in event:
            part = self.parts[event["of"]]
            part.job, part.by_reference = event["job"], event["by_reference"]
            part.unreadable = {int(index): reason for index, reason in event["unreadable"].items()}
        else:
            part = self.parts[event["cut"]]
            part.end = event["at"]
            if not part.size:
                del self.parts[part.start]


@contextmanager
def opened_journal(
    out: Path, identity: str, arguments: Mapping[str, Any], *, restart: bool = False
) -> Iterator[Journal]:
    """Open the journal of a run in an output folder, and lock it for this process.

    With `restart`, the old journal is deleted first. Raises UsageError if another process uses the journal or it is
    damaged; OutputError.
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
                f"Another command is doing the same run in {out}: wait for its end, or name another --out."
            ) from error
        abandoned: Sequence[str] = ()
        for removed in folder.parent.glob(f"{identity}.*.old"):  # left by a command that was killed in `remove`
            shutil.rmtree(removed, ignore_errors=True)
        if restart:
            with suppress(UsageError):  # the old journal may be damaged
                abandoned = _read(folder, arguments).unfinished_jobs()
            with writing(folder):
                for file in sorted(folder.iterdir(), key=lambda file: file.name == "run.json"):
                    file.unlink()  # run.json last: without the other files it is no journal that looks whole
        yield _read(folder, arguments, abandoned)
    finally:
        os.close(lock)


def _read(folder: Path, arguments: Mapping[str, Any], abandoned: Sequence[str] = ()) -> Journal:
    try:
        return Journal(folder, arguments, abandoned)
    except (ValueError, LookupError, TypeError) as error:  # broken content, perhaps after a power failure
        raise UsageError(f"The journal in {folder} is damaged: start over with --restart.") from error


def find_run(out: Path, job: str) -> Mapping[str, Any] | None:
    """Return the arguments of the run that a job belongs to; None if no run in the output folder has the job."""
    for parts in sorted((out / RUNS).glob("*/parts.jsonl")):
        with suppress(OSError, ValueError, KeyError), parts.open(encoding="utf-8") as file:
            if any(json.dumps({"job": job})[1:-1] in line for line in file):
                arguments: Mapping[str, Any] = json.loads((parts.parent / "run.json").read_text())["asked"]
                return arguments
    return None
