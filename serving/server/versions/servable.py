"""A version in memory, and the state of a version as GetModelStatus reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.server.versions.policy import State
from serving.wire.protos import ProtoMessage


class Servable(Protocol):
    """A loaded version. `signatures` holds SignatureDef messages by name; LoadedModel implements the protocol."""

    signatures: dict[str, ProtoMessage]

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        """Run the graph and return the tensors named `fetches`, in that order.

        `feeds` are the arrays by tensor name. The caller waits until `deadline`, in the seconds of `time.monotonic`.
        Raises StatusError if the graph fails.
        """

    def close(self) -> None:
        """Free the memory."""


@dataclass(frozen=True)
class VersionState:
    """The state of a version in GetModelStatus. Without an error, `error_code` is 0 and `error` is ''."""

    version: int
    state: State
    error_code: int
    error: str
