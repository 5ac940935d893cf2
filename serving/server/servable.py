"""A version in memory, and a version as it is told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.protos import ProtoMessage
from serving.server.versions import State


class Servable(Protocol):
    """A loaded version; `serving.server.loader.LoadedModel` is the real one."""

    signatures: dict[str, ProtoMessage]

    def run(self, feeds: Mapping[str, NDArray[Any]], fetches: list[str]) -> list[NDArray[Any]]:
        """The tensors named `fetches`, given those of `feeds`."""

    def close(self) -> None:
        """Free the memory."""


@dataclass(frozen=True)
class VersionState:
    """A version as GetModelStatus tells it: `error_code` is 0 and `error` empty where nothing went wrong."""

    version: int
    state: State
    error_code: int
    error: str
