"""What a job writes where its caller keeps things: the results in files, a summary, pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import fsspec

from workers.errors import OutputNotAllowedError, OutputUnusableError
from workers.formats import parquet
from workers.locations import is_under
from workers.settings import Settings

OutputFormat = Literal["coco", "csv", "parquet"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)


@dataclass(frozen=True)
class Output:
    """Where to, in which formats beside JSON lines, and of how many images, at most, with their boxes drawn."""

    url: str
    formats: tuple[OutputFormat, ...] = ()
    annotate: int = 0

    def to_json(self) -> str:
        """As it is kept with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        return cls(found["url"], tuple(found["formats"]), found["annotate"])

    def folder(self, job: str) -> str:
        """Where a job's files are: no two jobs write the same ones."""
        return f"{self.url.rstrip('/')}/{job}"

    def check(self, settings: Settings) -> None:
        """Raise OutputNotAllowedError, or OutputUnusableError where nothing can be written there by this server.

        Nothing is written yet: whether there is room is found out when there is something to write.
        """
        prefixes = settings.output_prefixes
        if not prefixes:
            raise OutputNotAllowedError("This server writes no results elsewhere: set SHELFLINE_OUTPUT_PREFIXES.")
        if not is_under(self.url, prefixes) or not _stays_under(self.url, prefixes):
            raise OutputNotAllowedError("output_url is not under an allowed prefix: see SHELFLINE_OUTPUT_PREFIXES.")
        if "parquet" in self.formats and not parquet.can_write():
            raise OutputUnusableError("This server writes no Parquet: install the package pyarrow there.")
        try:
            fsspec.core.url_to_fs(self.url)
        except Exception as error:  # a protocol that there is not, a package that is missing
            raise OutputUnusableError(f"output_url cannot be opened: {str(error)[:200]}.") from error


def _stays_under(url: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a folder of the server, its links resolved, lies under one of the prefixes."""
    if "://" in url:
        return True
    try:
        path = Path(url).resolve()
    except (OSError, RuntimeError):  # a name too long, links that lead in a circle
        return False
    return any(path.is_relative_to(Path(one).resolve()) for one in prefixes if "://" not in one)
