"""Named sources, whose images a duty lists: a folder of the server, an fsspec location, a manifest in one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from workers.errors import FolderNotFoundError, NoImagesError
from workers.io.folders import allowed_folder
from workers.io.locations import check_location
from workers.settings import Settings
from workers.sources.origins.manifest_file import Manifest, check_manifest_bytes, check_manifest_file, open_manifest
from workers.sources.origins.origin import Origin
from workers.sources.origins.simple import Folder, Location
from workers.sources.selection import Selection

Kind = Literal["folder", "location", "manifest"]
EVERYTHING = Selection()


@dataclass(frozen=True)
class NamedSource:
    """What is to be listed, and which of its images are taken."""

    kind: Kind
    where: str
    selection: Selection = EVERYTHING

    def to_json(self) -> str:
        """Return the source as it is stored with the job."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        chosen = stored["selection"]
        selection = Selection(**{**chosen, "include": tuple(chosen["include"]), "exclude": tuple(chosen["exclude"])})
        return cls(stored["kind"], stored["where"], selection)

    def identity(self) -> Iterator[str]:
        """Yield what makes two submissions the same: the source and the selection, not the images."""
        yield self.to_json()

    def check(self, settings: Settings) -> None:
        """Raise what can be known without listing the source: it may not be read, or nothing is there.

        Raises FolderNotAllowedError, FolderNotFoundError, SourceNotAllowedError, SourceUnreadableError, ManifestError,
        NoImagesError.
        """
        if self.kind == "folder":
            folder = allowed_folder(self.where, settings.folder_roots)
            try:
                with os.scandir(folder) as entries:
                    if next(entries, None) is None:
                        raise NoImagesError(Folder.empty)
            except OSError as error:
                raise FolderNotFoundError(f"The folder cannot be read: {error.strerror}.") from error
        elif self.kind == "location":
            check_location(self.where, settings.source_prefixes)
        elif "://" in self.where:
            check_manifest_bytes(check_location(self.where, settings.source_prefixes) or 0, settings)
        else:
            check_manifest_file(Path(self.where), settings)

    @contextmanager
    def opened(self, settings: Settings) -> Iterator[Origin]:
        """Yield the source as an origin, whose images are listed anew.

        Raises FolderNotAllowedError, FolderNotFoundError, SourceNotAllowedError, SourceUnreadableError, ManifestError.
        """
        if self.kind == "folder":
            yield Folder(allowed_folder(self.where, settings.folder_roots))
        elif self.kind == "location":
            yield Location(self.where, settings.source_prefixes)
        else:
            with open_manifest(self.where, settings) as (content, base):
                yield Manifest(content, settings, base)
