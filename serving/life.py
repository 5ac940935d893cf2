"""Where a model's versions are in their life, as GetModelStatus tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VersionStatus:
    """One version: START, LOADING, AVAILABLE, UNLOADING or END; `error` is empty if all is well."""

    version: int
    state: str
    error: str
