"""The container files agree with the code: settings, commands, what Redis promises, what the model server is told."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from api.commands.stack.plan import read_procfile
from serving.server.batching.settings import read_batch_settings
from serving.server.flags import parse
from serving.server.loading import allocator
from tests.support.machine import do_without
from workers.io.embedded_redis import server_command
from workers.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((PROJECT / "docker-compose.gpu.yml").read_text())
EMBEDDED = yaml.safe_load((PROJECT / "docker-compose.embedded.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("web", "worker", "webhooks")
BEHIND_A_PROXY = {"host", "port", "require_keys", "heartbeat_file"}  # what the image itself says
NOT_FOR_CONTAINERS = {"api_key", "folder_roots", "models"}  # a command's; folders of the host
OF_TRACES = {  # OpenTelemetry's own, without which SHELFLINE_TRACING would send to the container itself
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}


def _stages() -> dict[str, list[str]]:
    """The Dockerfile's stages: their instructions, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (PROJECT / "Dockerfile").read_text())
    stages: dict[str, list[str]] = {}
    for line in text.splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            stages[start[2]] = [line]
        elif line and not line.startswith("#"):
            list(stages.values())[-1].append(line)
    return stages


STAGES = _stages()


def _lineage(stage: str) -> list[str]:
    """All instructions that make a stage, its bases' first."""
    base = STAGES[stage][0].split()[1]
    return [*(_lineage(base) if base in STAGES else []), *STAGES[stage]]


def _last(stage: str, instruction: str) -> str:
    return [line for line in _lineage(stage) if line.startswith(f"{instruction} ")][-1].partition(" ")[2]


def _environment(stage: str) -> dict[str, str]:
    pairs = [pair for line in _lineage(stage) if line.startswith("ENV ") for pair in shlex.split(line)[1:]]
    return dict(pair.split("=", 1) for pair in pairs)


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_the_command_of_the_procfile(name: str) -> None:
    """Written for both, so that they cannot part; `exec` makes it the process that SIGTERM reaches."""
    command = json.loads(_last(name, "CMD"))

    assert command == ["/bin/sh", "-c", read_procfile(PROJECT / "Procfile")[name]]
    assert command[-1].startswith("exec ")


def test_every_setting_can_be_given() -> None:
    """Whoever sets one in .env finds it heeded, and no name in the file is a mistake."""
    given = set(COMPOSE["x-settings"])
    aliases = {"redis_url": "REDIS_URL", "blob_url": "BLOB_URL"}
    known = {aliases.get(name, f"SHELFLINE_{name.upper()}") for name in Settings.model_fields}
    fixed = {f"SHELFLINE_{name.upper()}" for name in BEHIND_A_PROXY | NOT_FOR_CONTAINERS}

    assert given == (known - fixed) | OF_TRACES
    for name in OURS:
        assert given <= set(SERVICES[name]["environment"])


def test_the_procfile_has_the_defaults_of_the_settings() -> None:
    """Its shell gives Celery the pool, before any setting is read."""
    defaults = dict(re.findall(r"\$\{(SHELFLINE_\w+):-(\w+)\}", read_procfile(PROJECT / "Procfile")["worker"]))
    fields = Settings.model_fields

    assert defaults == {f"SHELFLINE_{name.upper()}": str(fields[name].default) for name in ("pool", "concurrency")}


@pytest.mark.parametrize("stage", OURS)
def test_an_image_sets_what_a_container_needs(stage: str) -> None:
    """The settings of the image are good ones; the API listens for others, on 5000, and asks for keys."""
    variables = {name.removeprefix("SHELFLINE_").lower(): value for name, value in _environment(stage).items()}
    ours: dict[str, Any] = {name: value for name, value in variables.items() if name in Settings.model_fields}
    settings = Settings(**ours)

    assert settings.blob_url == "/var/lib/shelfline/blobs"
    if stage == "web":
        assert (settings.host, settings.port, settings.demands_keys) == ("0.0.0.0", 5000, True)  # noqa: S104
        assert SERVICES["web"]["ports"][0].endswith(":5000")
    else:
        assert settings.heartbeat_file is not None
        assert "$SHELFLINE_HEARTBEAT_FILE" in _last(stage, "HEALTHCHECK").replace("\\", "")


@pytest.mark.parametrize("stage", [*OURS, "exporter", "embedded"])
def test_no_image_runs_as_root(stage: str) -> None:
    """Nor under a name: an orchestrator that forbids root has to see a number."""
    user = _last(stage, "USER")

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


@pytest.mark.parametrize("stage", OURS)
def test_light_images_are_made_of_the_light_pins(stage: str) -> None:
    """TensorFlow is in none of them."""
    sources = [line for line in _lineage(stage) if line.startswith("COPY --from=")]

    assert sources == ["COPY --from=light /opt/shelfline /opt/shelfline"]
    assert "requirements-full.txt" not in "".join(STAGES["light"])


def test_an_image_gets_only_what_is_named() -> None:
    """The context is empty but for what the Dockerfile copies: no .env, no state, no history."""
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for stage in STAGES.values()
        for line in stage
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert "*" in (PROJECT / ".dockerignore").read_text().splitlines()
    assert copied == allowed
    assert all((PROJECT / path).exists() for path in copied)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed(name: str) -> None:
    """Nothing can be written but volumes and /tmp, no capability is left, none is published but the API."""
    service = SERVICES[name]

    assert (service["read_only"], service["cap_drop"], service["init"]) == (True, ["ALL"], True)
    assert "/tmp" in service.get("tmpfs", []) or name == "redis"
    assert ("ports" in service) == (name == "web")
    image = service["image"]
    assert image.startswith("shelfline-") or re.search(r":\d", image), "a foreign image is pinned"


def test_stopping_takes_longer_than_a_batch() -> None:
    """A worker's Predict, a webhook's POST and the model server's calls end before the container is killed."""
    settings = Settings()

    assert _seconds(SERVICES["worker"]["stop_grace_period"]) > settings.predict_timeout_seconds
    assert _seconds(SERVICES["webhooks"]["stop_grace_period"]) > settings.webhook_seconds
    assert _seconds(SERVICES["serving"]["stop_grace_period"]) > settings.predict_timeout_seconds


def test_redis_promises_what_the_embedded_one_does() -> None:
    """Each option that keeps accepted images is the same in both."""
    own = server_command(Path("redis-server"), 1, Path("/data"))
    there = SERVICES["redis"]["command"]
    durable = ("--appendonly", "--appendfsync", "--save", "--maxmemory-policy", "--dir")

    assert [there[there.index(name) + 1] for name in durable] == [own[own.index(name) + 1] for name in durable]
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_the_model_server_is_told_what_it_knows(tmp_path: Path) -> None:
    """The flags are the embedded server's too, and a worker's largest batch fits."""
    flags = SERVICES["serving"]["command"]
    name = flags[1].rpartition("/")[2]
    (mounted,) = [volume for volume in SERVICES["serving"]["volumes"] if volume.startswith("./")]
    folder = PROJECT / mounted.partition(":")[0]
    most = next(limit.le for limit in Settings.model_fields["batch_rows"].metadata if hasattr(limit, "le"))
    given = parse([*flags, f"--model_base_path={tmp_path}"])
    batching = read_batch_settings(folder / name)

    assert given.enable_batching
    assert "--num_load_threads=2" in flags  # otherwise a broken version holds up all later loads for 302 s
    assert batching.max_batch_size >= most


def test_the_allocator_is_tuned_alike() -> None:
    """By the environment as by mallopt, with the same numbers."""
    source = Path(allocator.__file__).read_text()
    environment = SERVICES["serving"]["environment"]
    largest = 2**31 - 1

    assert "2**31 - 1" in source
    assert "64 << 20" in source
    assert environment["MALLOC_ARENA_MAX"] == "1"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == environment["MALLOC_TRIM_THRESHOLD_"] == str(largest)
    assert environment["MALLOC_TOP_PAD_"] == str(64 << 20)


def test_the_embedded_server_takes_only_the_image_s_place() -> None:
    """Flags, environment, volumes and health check stay."""
    assert {name: set(service) for name, service in EMBEDDED["services"].items()} == {"serving": {"image", "build"}}
    assert EMBEDDED["services"]["serving"]["build"]["target"] in STAGES


def test_the_gpu_takes_the_same_server(tmp_path: Path) -> None:
    """The same version of TensorFlow Serving, flags that it knows, and settings that there are."""
    serving, worker = GPU["services"]["serving"], GPU["services"]["worker"]
    given = parse([*serving["command"], f"--model_base_path={tmp_path}"])
    name = serving["command"][1].rpartition("/")[2]
    batching = read_batch_settings(PROJECT / "docs" / "tf-serving" / name)

    assert serving["image"] == f"{SERVICES['serving']['image']}-gpu"
    assert [flag.replace("-gpu", "") for flag in serving["command"]] == SERVICES["serving"]["command"]
    assert given.enable_batching
    assert batching.max_batch_size == 64
    for variable, value in worker["environment"].items():
        field = variable.removeprefix("SHELFLINE_").lower()
        (default,) = re.findall(rf"\$\{{{variable}:-(\d+)\}}", value)
        assert getattr(Settings.model_validate({field: default}), field) == int(default)


def test_every_target_is_a_stage() -> None:
    """Of the services that are built."""
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}

    assert targets == {"web", "worker", "webhooks", "exporter"}
    assert targets <= set(STAGES)


@pytest.fixture
def model_status() -> Iterator[list[str]]:
    """A REST API of a model server whose model is in the state named."""
    state = ["AVAILABLE"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models/shelf"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(f'{{"state": "{state[0]}"}}\n'.encode() if known else b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        state.append(str(server.server_port))
        yield state
        server.shutdown()


def test_the_health_check_of_the_model_server(model_status: list[str]) -> None:
    """It needs nothing but bash and grep; healthy is a model that is available, by the name it is served by."""
    *bash, script = SERVICES["serving"]["healthcheck"]["test"][1:]
    script = script.replace("$$", "$").replace("8501", model_status[1])

    def healthy(name: str = "shelf") -> bool:
        finished = subprocess.run(
            [*bash, script], env=os.environ | {"MODEL_NAME": name}, capture_output=True, check=False
        )
        return finished.returncode == 0

    assert healthy()
    assert not healthy("other")
    model_status[0] = "LOADING"
    assert not healthy()
    script = script.replace(f"/{model_status[1]} ", "/1 ")  # where nobody listens
    assert not healthy()


@pytest.mark.parametrize("name", sorted(path.name for path in PROJECT.glob("docker-compose*.yml")))
def test_a_file_follows_the_compose_specification(name: str) -> None:
    """Which version 2 reads: there is nothing in it that the specification does not know."""
    defaults = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", (PROJECT / name).read_text())
    read = yaml.safe_load(defaults)

    assert set(PyCompose.from_json(json.dumps(read)).service_names()) == set(read["services"])
    next(iter(read["services"].values()))["grace"] = "10s"
    with pytest.raises(ValueError, match="grace"):
        PyCompose.from_json(json.dumps(read))


@pytest.mark.parametrize(
    "files",
    [("docker-compose.yml", f"docker-compose.{other}.yml") for other in ("embedded", "gpu", "monitoring")],
)
def test_compose_reads_the_files(files: tuple[str, ...], tmp_path: Path) -> None:
    """Where Compose is installed, of whichever version."""
    command = next(
        (
            words
            for words in (["docker-compose"], ["docker", "compose"])
            if shutil.which(words[0])
            and not subprocess.run([*words, "version"], capture_output=True, check=False).returncode
        ),
        None,
    )
    if command is None:
        do_without("Compose is not installed")
    environment = tmp_path / "empty.env"  # not the checkout's .env
    environment.touch()
    options = ["--env-file", str(environment), *(part for name in files for part in ("-f", name))]
    done = subprocess.run(
        [*command, *options, "config", "-q"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
