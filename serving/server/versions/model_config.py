"""Read and check a ModelServerConfig, from a file or a reload request, with TF Serving's checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from serving.server.errors import SetupError, failed_precondition, invalid_argument
from serving.server.text_files import read_text_message
from serving.server.versions.policy import VersionPolicy
from serving.wire.protos import ModelServerConfig, ProtoMessage

_LIST: Final = "model_config_list"
_TENSORFLOW: Final = "tensorflow"
_DEPRECATED_TENSORFLOW: Final = 1


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a model: the folder of its versions, the version policy, and version by label.

    `logs_requests` says that it has a `logging_config`, which has no effect here.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict)
    logs_requests: bool = False


def read_model_config(path: Path) -> list[ModelConfig]:
    """Read the models of a ModelServerConfig file in text format. A file without a list of models has none.

    Raises SetupError if the file cannot be read or parsed, StatusError if TF Serving would refuse it.
    """
    message = read_text_message(ModelServerConfig, path)
    kind = message.WhichOneof("config")
    if kind is None:
        return []
    if kind != _LIST:
        raise SetupError(f"{path}: ModelServer does not yet support custom model config.")
    return model_configs(message)


def model_configs(message: ProtoMessage) -> list[ModelConfig]:
    """Return the models of a ModelServerConfig. Raises StatusError if one of server_core.cc's checks fails."""
    if message.WhichOneof("config") != _LIST:
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    listed = list(message.model_config_list.config)
    seen = set[str]()
    for config in listed:
        if config.name in seen:
            raise invalid_argument(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
    for config in listed:
        if "://" in config.base_path:
            raise invalid_argument(
                f"Model {config.name}: the embedded model server reads local folders only; "
                f"got base_path()={config.base_path}"
            )
        if not config.base_path.startswith("/"):
            raise invalid_argument(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
    for config in listed:
        _check_platform(config)
    return [
        ModelConfig(
            config.name,
            Path(config.base_path),
            _policy(config.model_version_policy),
            dict(config.version_labels),
            logs_requests=config.HasField("logging_config"),
        )
        for config in listed
    ]


def check_labels(
    configs: Iterable[ModelConfig],
    available: Mapping[str, Iterable[int]],
    given: Mapping[str, Mapping[str, int]] | None,
) -> None:
    """Raise FAILED_PRECONDITION if a label is assigned to a version that is not available.

    `available` are the available versions by model. `given` are the current labels by model if a new label may be
    assigned to a version that is not available yet, and None otherwise.
    """
    for config in configs:
        for label, version in config.labels.items():
            may_come_first = given is not None and given.get(config.name, {}).get(label, version) == version
            if version not in available.get(config.name, ()) and not may_come_first:
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {config.name}, "
                    "which is not currently available for inference"
                )


def _check_platform(config: ProtoMessage) -> None:
    if config.model_type:
        if config.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if config.model_type != _DEPRECATED_TENSORFLOW:
            raise invalid_argument(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
    elif not config.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    elif config.model_platform != _TENSORFLOW:
        raise invalid_argument(f"Model {config.name} requests unsupported platform {config.model_platform}")


def _policy(message: ProtoMessage) -> VersionPolicy:
    kind = message.WhichOneof("policy_choice")
    if kind == "specific":
        return VersionPolicy(specific=frozenset(message.specific.versions))
    return VersionPolicy(latest=max(message.latest.num_versions, 1), everything=kind == "all")
