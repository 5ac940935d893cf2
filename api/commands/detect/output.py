"""What a run leaves in its output folder: results.jsonl, the same in other formats, and what is below annotated/."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from api.commands.detect.line_files import writing
from api.commands.detect.pictures import Pictures
from api.commands.errors import UsageError
from workers.results.formats.registry import FORMATS, FormatName
from workers.results.formats.source import ResultSource
from workers.results.labels import Labels


class Output:
    """An output folder. Of an earlier run it replaces what that run wrote, and touches nothing else."""

    def __init__(self, folder: Path, most_pictures: int | None = None) -> None:
        """Make the folder; raises UsageError where that cannot be done."""
        self.folder = folder
        self.results = folder / "results.jsonl"
        self.pictures = Pictures(folder / "annotated", most_pictures)
        try:
            self.pictures.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.pictures.folder} cannot be made: {error.strerror}.") from error
        for path in (self.results, self.pictures.record):  # looked at now, not when the work is done
            if path.is_dir() or not os.access(path.parent, os.W_OK):
                raise UsageError(f"{path} cannot be written: move what is there, or choose another --out.")

    def publish(self, results: Path, *, growing: bool = False) -> None:
        """Show a file of results, in the same file system, as the run's. `growing`: also what is appended to it."""
        beside = self._beside(self.results)
        with writing(self.results):
            results.touch()
            try:
                beside.hardlink_to(results)
            except OSError:  # a file system without them
                if growing:
                    beside.symlink_to(results.absolute())
                else:
                    shutil.copyfile(results, beside)
            beside.replace(self.results)
            beside.unlink(missing_ok=True)  # both may have been the same file

    def write_as(self, form: FormatName, run: str, labels: Labels) -> Path:
        """Write the results in another format, from results.jsonl, in pieces; returns where."""
        if form is FormatName.JSONL:
            return self.results
        path = self.results.with_suffix(FORMATS[form].suffix)
        beside = self._beside(path)
        try:
            with writing(path):
                with beside.open("w", encoding="utf-8", newline="") as file:
                    file.writelines(FORMATS[form].write(ResultSource(run, self.lines, labels)))
                beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        return path

    def lines(self) -> Iterator[str]:
        """The results as they are kept, a JSON object each, without the end of the line."""
        with self.results.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")

    def read(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The results from an index on."""
        for index, line in enumerate(self.lines()):
            if index >= start:
                yield json.loads(line)

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.with_name(f"{path.name}.{os.getpid()}.part")  # two commands may have the same folder
