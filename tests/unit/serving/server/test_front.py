"""The ports: gRPC by TLS, a Unix socket alone, health of each service, and reflection."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from serving.server.errors import SetupError
from serving.server.flags import parse
from serving.server.front import Front
from serving.server.metrics import Metrics
from serving.server.settings_files import credentials
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.models import Models
from serving.wire.protos import MODEL_SERVICE, PREDICTION_SERVICE
from tests.support.machine import free_port

STATUS = f"/{MODEL_SERVICE}/GetModelStatus"


def opened(folder: Path, *flags: str) -> Front:
    """A server without models that listens as these flags say."""
    parsed = parse([f"--model_base_path={folder}", *flags])
    models = Models(lambda name: Lifecycle(name, load=lambda _: pytest.fail("nothing is loaded")))
    front = Front(parsed, models, Metrics(), batching=False)
    front.open(None, credentials(parsed))
    return front


def code_of(channel: grpc.Channel) -> str:
    """The code of a call: INVALID_ARGUMENT says that the server answered."""
    with channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(STATUS, None, None)(b"", timeout=10)
    return str(error.value.code().name)


def ssl_config(folder: Path, key: str, certificate: str, more: str = "") -> Path:
    """A file with an SSLConfig."""
    texts = {"server_key": key, "server_cert": certificate}
    lines = [f'{name}: "{text}"'.replace("\n", "\\n") for name, text in texts.items() if text]
    path = folder / "ssl.config"
    path.write_text("\n".join([*lines, more.replace("\n", "\\n")]))
    return path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whose certificates the tests trust."""
    return trustme.CA()


@pytest.fixture(scope="module")
def pair(authority: trustme.CA) -> tuple[str, str]:
    """A server's key and certificate."""
    issued = authority.issue_cert("localhost")
    return issued.private_key_pem.bytes().decode(), issued.cert_chain_pems[0].bytes().decode()


@pytest.mark.parametrize("without_certificate", ["INVALID_ARGUMENT", "UNAVAILABLE"])
def test_grpc_by_tls(tmp_path: Path, authority: trustme.CA, pair: tuple[str, str], without_certificate: str) -> None:
    """Only those who trust the certificate are answered; with `client_verify`, only those who have one too."""
    root = authority.cert_pem.bytes()
    more = f'custom_ca: "{root.decode()}" client_verify: true' if without_certificate == "UNAVAILABLE" else ""
    port = free_port()
    front = opened(tmp_path, f"--port={port}", f"--ssl_config_file={ssl_config(tmp_path, *pair, more)}")
    own = authority.issue_cert("client@example.org")
    as_client = (own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())
    try:
        target = f"localhost:{port}"
        trusting = grpc.ssl_channel_credentials(root)
        known = grpc.ssl_channel_credentials(root, *as_client)
        assert code_of(grpc.secure_channel(target, known)) == "INVALID_ARGUMENT"
        assert code_of(grpc.secure_channel(target, trusting)) == without_certificate
        assert code_of(grpc.insecure_channel(target)) == "UNAVAILABLE"
    finally:
        front.drain(0)


def test_the_socket_is_by_tls_too(tmp_path: Path, authority: trustme.CA, pair: tuple[str, str]) -> None:
    """As in TF Serving: whoever asks for TLS gets nothing without it, with --port=0 neither."""
    socket = tmp_path / "socket"
    config = ssl_config(tmp_path, *pair)
    front = opened(tmp_path, "--port=0", f"--grpc_socket_path={socket}", f"--ssl_config_file={config}")
    trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    named = (("grpc.ssl_target_name_override", "localhost"),)
    try:
        assert code_of(grpc.secure_channel(f"unix:{socket}", trusting, named)) == "INVALID_ARGUMENT"
        assert code_of(grpc.insecure_channel(f"unix:{socket}")) == "UNAVAILABLE"
    finally:
        front.drain(0)


@pytest.mark.parametrize(
    ("keys", "certificates", "more", "message"),
    [
        ("", "own", "", "must be set"),
        ("own", "", "", "must be set"),
        ("other", "own", "", "not a key and its certificate"),
        ("own", "path", "", "not a key and its certificate"),
        ("own", "own", "client_verify: true", "without custom_ca"),
    ],
)
def test_tls_that_cannot_work_is_refused(
    tmp_path: Path, authority: trustme.CA, pair: tuple[str, str], keys: str, certificates: str, more: str, message: str
) -> None:
    """Before a model is loaded, and not at each handshake."""
    other = authority.issue_cert("localhost").private_key_pem.bytes().decode()
    key = {"": "", "own": pair[0], "other": other}[keys]
    certificate = {"": "", "own": pair[1], "path": "/etc/server.pem"}[certificates]
    path = ssl_config(tmp_path, key, certificate, more)
    with pytest.raises(SetupError, match=message):
        credentials(parse([f"--model_base_path={tmp_path}", f"--ssl_config_file={path}"]))


def test_a_socket_alone(tmp_path: Path) -> None:
    """With --port=0 nothing listens on the network."""
    path = tmp_path / "socket"
    front = opened(tmp_path, "--port=0", f"--grpc_socket_path={path}")
    try:
        assert code_of(grpc.insecure_channel(f"unix:{path}")) == "INVALID_ARGUMENT"
    finally:
        front.drain(0)


def test_each_service_is_healthy(tmp_path: Path) -> None:
    """As on TF Serving, and another service is not known."""
    path = tmp_path / "socket"
    front = opened(tmp_path, "--port=0", f"--grpc_socket_path={path}", "--enable_grpc_healthcheck_service")
    try:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as error:
                check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
    finally:
        front.drain(0)


@pytest.mark.parametrize("flags", [[], ["--enable_grpc_healthcheck_service"]])
def test_the_server_describes_its_services(tmp_path: Path, flags: list[str]) -> None:
    """A tool that has no .proto files learns every method and message."""
    path = tmp_path / "socket"
    front = opened(tmp_path, "--port=0", f"--grpc_socket_path={path}", *flags)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=PREDICTION_SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    try:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            services, described, healthy = stub.ServerReflectionInfo(iter(requests), timeout=10)
    finally:
        front.drain(0)

    names = {service.name for service in services.list_services_response.service}
    assert names >= {PREDICTION_SERVICE, MODEL_SERVICE}
    assert ("grpc.health.v1.Health" in names) is bool(flags)
    files = [
        FileDescriptorProto.FromString(content) for content in described.file_descriptor_response.file_descriptor_proto
    ]
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert methods == {"Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"}
    if flags:
        assert healthy.file_descriptor_response.file_descriptor_proto
