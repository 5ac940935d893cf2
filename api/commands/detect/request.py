"""The arguments of `shelfline detect`, and the photos that they select."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from api.client.client import Options
from api.commands.detect.journal import RUNS, find_run
from api.commands.detect.photos import Collection, collect
from api.commands.errors import UsageError
from workers.results.formats.registry import FormatName
from workers.sources.selection import Selection

MAX_PICTURES = 1000


@dataclass(frozen=True)
class DetectRequest:
    """The arguments of the command. `job` is the id of a job to resume; then no paths are needed."""

    paths: Sequence[Path]
    out: Path
    state_folder: Path
    models: Path
    url: str | None
    key: str | None
    options: Options
    selection: Selection
    formats: Sequence[FormatName]
    max_pictures: int
    watch: bool
    upload: bool
    restart: bool
    job: str | None
    by_job: bool = False  # the run is resumed by its job, so its photos may be missing by now

    @property
    def run_arguments(self) -> dict[str, Any]:
        """The arguments that identify a run: photos and options, but not the output folder."""
        paths = [os.path.realpath(path) for path in self.paths]
        options = {name: value for name, value in self.options.items() if value is not None}
        return {"paths": paths, "options": options, "selection": asdict(self.selection), "watch": self.watch}

    @property
    def identity(self) -> str:
        """The name of the run: a hash of `run_arguments`, or of the job id."""
        text = json.dumps(self.job or self.run_arguments, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def of_its_run(self) -> DetectRequest:
        """Return the request of the run that has the job to resume, if the output folder has that run.

        Otherwise the request is unchanged, and everything about the job comes from the server.
        """
        run = find_run(self.out, self.job) if self.job else None
        if not run or "paths" not in run:
            return self
        chosen = run["selection"]
        return replace(
            self,
            paths=[Path(path) for path in run["paths"]],
            options=run["options"],
            selection=Selection(tuple(chosen["include"]), tuple(chosen["exclude"]), chosen["limit"], chosen["sample"]),
            watch=run["watch"],
            job=None,
            by_job=True,
        )

    def photos(self) -> Collection:
        """Return the photos that exist now, none if only a job is resumed; raises UsageError."""
        if self.job:
            return Collection()
        try:
            without = [self.out / "annotated", self.out / RUNS]
            return collect(self.paths, self.selection, without=without, empty=self.watch)
        except UsageError:
            if self.by_job:
                return Collection()
            raise
