"""The arguments of `shelfline detect`, and the photos that they select."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from api.client.client import Options
from api.commands.detect.journal import RUNS, find_run
from api.commands.detect.photos import EVERYTHING, Collection, collect
from api.commands.errors import UsageError
from workers.results.formats.registry import FormatName
from workers.sources.selection import Selection

MOST_PICTURES = 1000


@dataclass(frozen=True)
class DetectRequest:
    """The arguments of the command. `job` is the id of a job to resume; then no paths are needed."""

    paths: Sequence[Path]
    out: Path
    state_folder: Path
    models: Path
    url: str | None = None
    key: str | None = None
    options: Options = field(default_factory=Options)
    selection: Selection = EVERYTHING
    formats: Sequence[FormatName] = ()
    most_pictures: int = MOST_PICTURES
    watch: bool = False
    upload: bool = False
    restart: bool = False
    job: str | None = None
    elsewhere: bool = False  # the run is resumed by its job, so its photos may be missing by now

    @property
    def asked(self) -> dict[str, Any]:
        """The arguments that identify a run: photos and options, but not the output folder."""
        paths = [os.path.realpath(path) for path in self.paths]
        options = {name: value for name, value in self.options.items() if value is not None}
        return {"paths": paths, "options": options, "selection": asdict(self.selection), "watch": self.watch}

    @property
    def identity(self) -> str:
        """The name of the run: a hash of `asked`, or of the job id."""
        text = json.dumps(self.asked if not self.job else self.job, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def taken_up(self) -> DetectRequest:
        """Return the request of the run that has the job to resume, if the output folder has that run.

        Otherwise the request is unchanged, and everything about the job comes from the server.
        """
        found = find_run(self.out, self.job) if self.job else None
        if not found or "paths" not in found:
            return self
        chosen = found["selection"]
        return replace(
            self,
            paths=[Path(path) for path in found["paths"]],
            options=found["options"],
            selection=Selection(tuple(chosen["include"]), tuple(chosen["exclude"]), chosen["limit"], chosen["sample"]),
            watch=found["watch"],
            job=None,
            elsewhere=True,
        )


def photos_of(asked: DetectRequest) -> Collection:
    """Return the photos that exist now, none if only a job is resumed; raises UsageError."""
    nothing = Collection((), 0, ())
    if asked.job:
        return nothing
    try:
        return collect(
            asked.paths, asked.selection, without=[asked.out / "annotated", asked.out / RUNS], empty=asked.watch
        )
    except UsageError:
        if asked.elsewhere:
            return nothing
        raise
