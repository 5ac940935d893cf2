"""GetModelStatus: the versions of a model and their states (get_model_status_impl.cc)."""

from __future__ import annotations

from serving.protos import GetModelStatusRequest, GetModelStatusResponse
from serving.server.errors import invalid_argument, not_found
from serving.server.models import Models
from serving.server.prediction import parse


class ModelService:
    """The calls of tensorflow.serving.ModelService."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def get_model_status(self, content: bytes) -> bytes:
        """One version where the ModelSpec names it, otherwise all, newest first; StatusError where there is none."""
        request = parse(GetModelStatusRequest, content)
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = self._models.version_asked(spec)
        model = self._models.find(spec.name)
        states = [state for state in (model.states() if model else ()) if version in {None, state.version}]
        if not states:
            which = "any versions" if version is None else f"version {version}"
            raise not_found(f"Could not find {which} of model {spec.name}")
        response = GetModelStatusResponse()
        for state in states:
            item = response.model_version_status.add(version=state.version, state=int(state.state))
            item.status.error_code = state.error_code
            item.status.error_message = state.error
        return bytes(response.SerializeToString())
