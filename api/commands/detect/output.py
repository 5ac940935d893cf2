"""The output folder of a run: results.jsonl, the results in other formats, and the pictures in annotated/."""

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
from workers.io.local_files import sync
from workers.results.formats.registry import FORMATS, FormatName
from workers.results.formats.source import ResultSource
from workers.results.labels import Labels


class Output:
    """An output folder. It replaces the files that an earlier run wrote, and changes no others."""

    def __init__(self, folder: Path, max_pictures: int | None = None) -> None:
        """Create the folder; raises UsageError if it cannot be created or written to."""
        self.folder = folder
        self.results = folder / "results.jsonl"
        self.pictures = Pictures(folder / "annotated", max_pictures)
        try:
            self.pictures.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.pictures.folder} cannot be made ({error.strerror}): choose another --out."
            ) from error
        for path in (self.results, self.pictures.record):  # check before the work, not after it
            if path.is_dir() or not os.access(path.parent, os.W_OK):
                raise UsageError(
                    f"{path} cannot be written: give access or move what is there, or choose another --out."
                )

    def publish(self, results: Path, *, growing: bool = False) -> None:
        """Make a file of results, in the same file system, appear as results.jsonl.

        With `growing`, lines that are appended to the file later appear too.
        """
        beside = self._beside(self.results)
        with writing(self.results):
            results.touch()
            try:
                beside.hardlink_to(results)
            except OSError:  # the file system has no hard links
                if growing:
                    beside.symlink_to(results.absolute())
                else:
                    shutil.copyfile(results, beside)
            beside.replace(self.results)
            beside.unlink(missing_ok=True)  # `replace` does nothing if both are the same file
            sync(str(self.results))
            sync(str(self.folder))

    def write_as(self, form: FormatName, run: str, labels: Labels) -> Path:
        """Write results.jsonl in another format, piece by piece; returns the path."""
        if form is FormatName.JSONL:
            return self.results
        path = self.results.with_suffix(FORMATS[form].suffix)
        beside = self._beside(path)
        try:
            with writing(path):
                with beside.open("w", encoding="utf-8", newline="") as file:
                    file.writelines(FORMATS[form].write(ResultSource(run, self.lines, labels)))
                sync(str(beside))
                beside.replace(path)
                sync(str(self.folder))
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        return path

    def lines(self) -> Iterator[str]:
        """Yield the lines of results.jsonl, each a JSON object without a line end."""
        with self.results.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")

    def read(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the results from index `start` on."""
        for index, line in enumerate(self.lines()):
            if index >= start:
                yield json.loads(line)

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.with_name(f"{path.name}.{os.getpid()}.part")  # two commands may share the folder
