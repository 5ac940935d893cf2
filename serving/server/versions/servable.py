"""A version in memory, and a version as it is told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.server.versions.policy import State
from serving.wire.protos import ProtoMessage


class Servable(Protocol):
    """A loaded version; `serving.server.loading.saved_model.LoadedModel` is the real one."""

    signatures: dict[str, ProtoMessage]

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        """The tensors named `fetches`, given those of `feeds`; StatusError where the graph raises.

        Nobody waits for them after `deadline`, in the seconds of `time.monotonic`.
        """

    def close(self) -> None:
        """Free the memory."""


@dataclass(frozen=True)
class VersionState:
    """A version as GetModelStatus tells it: `error_code` is 0 and `error` empty where nothing went wrong."""

    version: int
    state: State
    error_code: int
    error: str
