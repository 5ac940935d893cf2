"""GetModelStatus and HandleReloadConfigRequest, after get_model_status_impl.cc and model_service_impl.cc."""

from __future__ import annotations

import logging
from collections.abc import Callable

from serving.server.errors import StatusError, invalid_argument, not_found
from serving.server.rpc.prediction import parse
from serving.server.versions.model_config import model_configs
from serving.server.versions.models import Models
from serving.wire.protos import (
    GetModelStatusResponse,
    ProtoMessage,
    ReloadConfigRequest,
    ReloadConfigResponse,
)

_log = logging.getLogger(__name__)


class ModelService:
    """The calls of tensorflow.serving.ModelService."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def status(self, request: ProtoMessage) -> ProtoMessage:
        """Return the GetModelStatusResponse for a GetModelStatusRequest: one version or all versions, newest first.

        Raises StatusError, NOT_FOUND if there is no such version.
        """
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = int(spec.version.value) if spec.HasField("version") else None  # labels are ignored, as in TF Serving
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
        return response

    def handle_reload_config_request(self, content: bytes, is_awaited: Callable[[], bool]) -> bytes:
        """Replace the served models with the models of the request; returns when the new ones are available.

        Raises StatusError if the configuration is invalid or a new model cannot be loaded.
        """
        try:
            configs = model_configs(parse(ReloadConfigRequest, content).config)
            self._models.reload(configs, is_awaited)
        except StatusError as error:
            _log.error("the configuration was not reloaded: %s", error.message)
            raise
        _log.info("the configuration was reloaded: %s", ", ".join(config.name for config in configs) or "no models")
        response = ReloadConfigResponse()
        response.status.SetInParent()
        return bytes(response.SerializeToString())
