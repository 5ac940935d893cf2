"""The errors of an export."""

from __future__ import annotations

from typing import ClassVar

from serving.errors import ShelflineError


class ExportError(ShelflineError):
    """Raised when a model could not be exported; nothing was written, and `str(error)` is one line that says why."""

    code: ClassVar[str] = "export_failed"


class VersionExistsError(ExportError):
    """Raised when a version number is in use: a version is never overwritten."""


class ModelNotRunError(ExportError):
    """Raised when a model that is inspected cannot be run on photos."""
