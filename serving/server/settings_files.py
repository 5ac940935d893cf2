"""Read and check the files that the flags name, before a model is loaded."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from serving.server.batching.settings import BatchSettings, read_batch_settings
from serving.server.errors import SetupError, StatusError
from serving.server.flags import Flags
from serving.server.text_files import read_text_message
from serving.server.versions.model_config import ModelConfig, read_model_config
from serving.wire.protos import MonitoringConfig, SSLConfig

METRICS_PATH: Final = "/monitoring/prometheus/metrics"


def first_models(flags: Flags) -> Sequence[ModelConfig]:
    """Return the models to begin with. Raises SetupError if their file or a model's folder is missing or invalid."""
    try:
        models = _models(flags)
    except StatusError as error:
        raise SetupError(error.message) from error
    for model in models:
        where = f"the base_path of model {model.name}: {model.base_path}"
        if not model.base_path.is_dir():
            raise SetupError(f"{where} is not a folder: create it, or name another one")
        if not os.access(model.base_path, os.R_OK | os.X_OK):
            raise SetupError(f"{where} may not be read: give the server access to it")
    return models


def _models(flags: Flags) -> Sequence[ModelConfig]:
    if flags.model_config_file is not None:
        return read_model_config(flags.model_config_file)
    assert flags.model_base_path is not None, "checked with the flags"
    return (ModelConfig(flags.model_name, flags.model_base_path.absolute()),)


def batching(flags: Flags) -> BatchSettings | None:
    """Return the batching settings, None without batching. Raises SetupError if their file is invalid."""
    if not flags.enable_batching:
        return None
    if flags.batching_parameters_file is None:
        return BatchSettings()
    return read_batch_settings(flags.batching_parameters_file)


def credentials(flags: Flags) -> grpc.ServerCredentials | None:
    """Return the key and certificates of the gRPC port, None without TLS.

    As in TF Serving, the SSLConfig holds PEM texts and not paths. Raises SetupError if the file or a text is invalid.
    """
    path = flags.ssl_config_file
    if path is None:
        return None
    config = read_text_message(SSLConfig, path)
    if not config.server_key or not config.server_cert:
        raise SetupError(f"{path}: server_key and server_cert must be set: write the PEM texts of both into the file")
    if config.client_verify and not config.custom_ca:
        raise SetupError(f"{path}: client_verify is set without custom_ca: write the PEM text of the CA into the file")
    _check_pair(path, config.server_key, config.server_cert)
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pair(path: Path, key: str, certificate: str) -> None:
    """Raise SetupError if the key and the certificate are not a pair: gRPC would only fail each handshake."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem") as file:  # readable by this user only
        file.write(f"{key.strip()}\n{certificate.strip()}\n")
        file.flush()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise SetupError(f"{path}: server_key and server_cert are not a key and its certificate in PEM") from error


def metrics_path(flags: Flags) -> str | None:
    """Return the path of the metrics page, None without a page. Raises SetupError if its file is invalid."""
    if flags.monitoring_config_file is None:
        return None
    config = read_text_message(MonitoringConfig, flags.monitoring_config_file).prometheus_config
    if not config.enable:
        return None
    return str(config.path or METRICS_PATH)
