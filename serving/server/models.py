"""The models a server has, and which version of which a ModelSpec means."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from serving.protos import ProtoMessage
from serving.server.errors import invalid_argument, not_found
from serving.server.lifecycle import Lifecycle
from serving.server.servable import Servable


class Models:
    """All models by name. No version has a label: labels come with a configuration file."""

    def __init__(self, models: Iterable[Lifecycle]) -> None:
        self._by_name = {model.name: model for model in models}

    def find(self, name: str) -> Lifecycle | None:
        """The model of that name."""
        return self._by_name.get(name)

    def acquire(self, spec: ProtoMessage) -> AbstractContextManager[tuple[int, Servable]]:
        """The version that a ModelSpec means and its number, held for a call (server_core.cc, GetServableHandle).

        Raises StatusError where there is none.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = self.version_asked(spec)
        model = self._by_name.get(spec.name)
        if model is None:
            which = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise not_found(f"Servable not found for request: {which}")
        return model.acquire(version)

    def version_asked(self, spec: ProtoMessage) -> int | None:
        """The number in a ModelSpec, None for whichever is newest."""
        if spec.WhichOneof("version_choice") == "version_label":
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return int(spec.version.value) if spec.HasField("version") else None
