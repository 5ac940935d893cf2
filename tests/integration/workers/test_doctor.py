"""`shelfline doctor`: each thing that can be wrong, provoked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.commands import doctor as doctor_command
from api.commands.cli import app
from api.commands.stack.state import StackRecord, StackState
from tests.support.machine import free_port
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers import doctor
from workers.doctor import Finding, examine
from workers.health import WORKER_SEEN_KEY
from workers.io.redis_link import RedisLink
from workers.settings import Settings
from workers.store.api_keys import KeyStore, KeyTerms


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that is set up as an installation's should be."""
    made = RedisServer(tmp_path_factory.mktemp("redis"), durable=True)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def healthy(settings: Settings, link: RedisLink, server: ScriptedServer) -> Settings:
    """Settings of an installation that lacks nothing."""
    link.client.set(WORKER_SEEN_KEY, "1")
    return settings.model_copy(update={"model_server": server.target})


@pytest.fixture(autouse=True)
def _no_variables_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin as settings do, and are none."""
    monkeypatch.delenv("SHELFLINE_REQUIRE_ALL", raising=False)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may spoil."""
    (tmp_path / "redis").mkdir()
    started = RedisServer(tmp_path / "redis", durable=True)
    started.start()
    yield started
    started.kill()


def wrong(settings: Settings) -> list[tuple[str, str, str, str]]:
    return [
        (finding.what, finding.level, finding.result, finding.advice)
        for finding in examine(settings)
        if finding.level != "ok"
    ]


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, **env: str) -> tuple[int, str]:
    """The exit status and the output of the command, on these settings."""
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("BLOB_URL", settings.blob_url)
    monkeypatch.setenv("SHELFLINE_MODEL_SERVER", settings.model_server)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["doctor", "--var", str(folder / "var")])
    return done.exit_code, done.output


def test_folders_that_are_not_there(healthy: Settings, tmp_path: Path) -> None:
    """Each that a setting names is told; those that are there, and other stores, are not."""
    gone = tmp_path / "gone"
    there = healthy.model_copy(update={"folder_roots": (tmp_path,), "output_prefixes": (str(tmp_path), "s3://x")})
    named = there.model_copy(
        update={"folder_roots": (tmp_path, gone), "output_prefixes": (str(gone),), "contracts": gone}
    )

    def folder_findings(settings: Settings) -> list[tuple[str, str]]:
        return [(level, text) for what, level, text, _ in wrong(settings) if what == "folders"]

    assert folder_findings(there) == []
    assert folder_findings(named) == [
        ("warning", f"{gone} of SHELFLINE_{name} does not exist here")
        for name in ("FOLDER_ROOTS", "OUTPUT_PREFIXES", "CONTRACTS")
    ]


@pytest.mark.parametrize(
    ("limit", "concurrency", "level", "text"),
    [
        (None, 1, "ok", "how much there is here is unknown"),
        (2_900_000_000, 1, "ok", "there are 2.9 GB here"),
        (2_700_000_000, 1, "warning", "there are 2.7 GB here"),
        (2_900_000_000, 3, "warning", "3 of them 8.1 GB; there are 2.9 GB here"),
    ],
)
def test_memory_for_the_workers(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    concurrency: int,
    level: str,
    text: str,
) -> None:
    """What a worker takes at most is told, and a warning given where there is less."""
    monkeypatch.setattr(doctor, "memory_limit", lambda: limit)
    finding = doctor._memory(settings.model_copy(update={"concurrency": concurrency}))

    assert (finding.what, finding.level) == ("memory", level)
    assert finding.result.startswith("a worker process takes at most 2.7 GB (0.6 to decode, 0.3 for files, 1.6 to")
    assert finding.result.endswith(text)
    assert ("SHELFLINE_CONCURRENCY" in finding.advice) == (level == "warning")


def test_nothing_is_wrong(healthy: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything was looked at, and is fine."""
    monkeypatch.setattr(doctor, "_NEARLY_FULL", 0)
    monkeypatch.setattr(doctor, "_FULL", 0)
    monkeypatch.setattr(doctor, "memory_limit", lambda: 1 << 40)
    status, said = command(healthy, monkeypatch, tmp_path)

    assert status == 0
    assert [line for line in said.splitlines() if not line.startswith("ok ")] == []
    for what in (
        "versions",
        "redis",
        "worker",
        "clock",
        "memory",
        "blob store",
        "disk of temporary files",
        "model default",
        "keys",
    ):
        assert f"ok       {what}: " in said
    assert not list((tmp_path / "blobs").rglob("doctor/*"))


def test_redis_is_not_there(healthy: Settings) -> None:
    """And what does not depend on it is looked at all the same."""
    settings = healthy.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    findings = {finding.what: finding for finding in examine(settings)}

    assert findings["redis"].level == "error"
    assert "Redis does not answer" in findings["redis"].result
    assert findings["blob store"].level in {"ok", "warning"}
    assert findings["model default"].level == "ok"


def test_redis_is_set_up_wrong(healthy: Settings, own_redis: RedisServer) -> None:
    """It evicts, has no append-only file or does not sync it, is nearly full, follows another."""
    settings = healthy.model_copy(update={"redis_url": own_redis.url})
    link = RedisLink(own_redis.url)
    link.client.set(WORKER_SEEN_KEY, "1")

    def with_config(**values: Any) -> list[str]:
        before = {name: link.client.config_get(name)[name] for name in values}
        for name, value in values.items():
            link.client.config_set(name, value)
        said = [f"{level} {result}" for what, level, result, _ in wrong(settings) if what == "redis"]
        for name, value in before.items():
            link.client.config_set(name, value)
        return said

    assert with_config() == []
    (evicts,) = with_config(**{"maxmemory-policy": "allkeys-lru"})
    assert evicts.startswith("error when it is full it evicts keys (maxmemory-policy allkeys-lru)")
    assert with_config(appendfsync="everysec") == ["warning its append-only file is synced everysec"]
    (full,) = with_config(maxmemory=int(link.client.info("memory")["used_memory"]) + 50_000)
    assert full.startswith("warning it uses 9")
    (lost,) = with_config(appendonly="no")
    assert lost == "error it has no append-only file: if it dies, accepted images are lost"
    link.client.replicaof("127.0.0.1", free_port())
    assert "error it is a replica and accepts no writes" in with_config()
    link.close()


def test_redis_that_cannot_write_or_be_asked(healthy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What managed ones hide is a warning; a file that could not be written is an error; an old one is too old."""
    link = RedisLink(healthy.redis_url)
    info = link.client.info() | {"aof_last_write_status": "err", "redis_version": "6.2.1"}
    info.pop("valkey_version", None)

    def no_config(_name: str) -> None:
        raise RuntimeError("ERR unknown command 'CONFIG'")

    monkeypatch.setattr(link.client, "info", lambda: info)
    monkeypatch.setattr(link.client, "config_get", no_config)
    findings = [finding for finding in doctor._redis(link) if finding.level != "ok"]
    link.close()

    assert [(finding.level, finding.result.partition(" answers")[0]) for finding in findings] == [
        ("error", "Redis 6.2.1"),
        ("error", "it could not write its append-only file"),
        ("warning", "how its append-only file is synced cannot be seen"),
    ]


@pytest.mark.parametrize(
    ("seconds", "result"),
    [(-60.0, "60 s behind Redis'"), (60.0, "60 s ahead of Redis'"), (1.4, "1 s ahead of Redis'")],
)
def test_a_clock_is_wrong(healthy: Settings, monkeypatch: pytest.MonkeyPatch, seconds: float, result: str) -> None:
    """This host's, or that of Redis: a warning, since it costs nothing."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)

    assert ("clock", "warning", result) in [finding[:3] for finding in wrong(healthy)]


def test_no_worker(healthy: Settings, link: RedisLink) -> None:
    """A warning: it may be about to be started."""
    link.client.delete(WORKER_SEEN_KEY)

    assert [finding[:2] for finding in wrong(healthy) if finding[0] == "worker"] == [("worker", "warning")]


@pytest.mark.parametrize("url", ["/proc/nowhere", "nosuch://bucket/x", "s3://no-bucket-of-ours/x"])
def test_a_blob_store_that_cannot_be_written(healthy: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no such kind of store, a kind whose package or credentials are missing."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (problem,) = (finding for finding in doctor._blobs(healthy.model_copy(update={"blob_url": url})))

    assert (problem.level, bool(problem.result), "BLOB_URL" in problem.advice) == ("error", True, True)


@pytest.mark.parametrize(("name", "level"), [("_FULL", "error"), ("_NEARLY_FULL", "warning")])
def test_a_disk_is_full(healthy: Settings, monkeypatch: pytest.MonkeyPatch, name: str, level: str) -> None:
    """Nearly, or so that hardly a job fits."""
    monkeypatch.setattr(doctor, "_FULL", 0)
    monkeypatch.setattr(doctor, "_NEARLY_FULL", 0)
    monkeypatch.setattr(doctor, name, 1 << 62)
    findings = {finding.what: finding for finding in doctor._disks(healthy)}

    assert {finding.level for finding in findings.values()} == {level}
    assert findings.keys() == {"disk of temporary files", "disk of the blob store"}
    assert all(finding.advice == "make room on its disk" for finding in findings.values())


def test_a_model_is_missing(healthy: Settings, server: ScriptedServer) -> None:
    """Its server is down, or something else listens there; each model is looked at."""
    server.stop()
    findings = list(doctor._models(healthy.model_copy(update={"more_models": ("other",)})))

    assert [(finding.what, finding.level) for finding in findings] == [
        ("model default", "error"),
        ("model other", "error"),
    ]
    assert all("UNAVAILABLE" in finding.result and "SHELFLINE_MODEL_SERVER" in finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("text", "level", "result"),
    [
        ("max_batch_size { value: 16 }", "ok", "it takes the calls of a worker, of 16 rows at most"),
        ("", "ok", "1000 rows at most"),
        ("max_batch_size { value: 4 }", "error", "warm-up records have up to 8 rows"),
        ("max_batch_size 4", "error", "is not a batching file"),
    ],
)
def test_the_batching_file_is_compared(healthy: Settings, tmp_path: Path, text: str, level: str, result: str) -> None:
    """With what the models take and the workers send."""
    path = tmp_path / "batching.txt"
    path.write_text(text)
    findings = [finding for finding in doctor._models(healthy, path) if finding.what.startswith("batching")]

    assert [finding.level for finding in findings] == [level]
    assert result in findings[0].result


def test_packages_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is known not to work, a package that is missing; those of models may be."""
    version = metadata.version

    def other(name: str) -> str:
        if name in {"flask", "tensorflow"}:
            raise metadata.PackageNotFoundError(name)
        return "5.7.0" if name == "celery" else version(name)

    monkeypatch.setattr(metadata, "version", other)
    findings = [finding for finding in doctor._versions() if finding.level != "ok"]

    assert findings == [
        Finding(
            "versions", "error", "celery 5.7.0 is installed, and ==5.6.3 is needed", "pip install -r requirements.txt"
        ),
        Finding("versions", "error", "flask is not installed", "pip install -r requirements.txt"),
    ]


def test_keys_and_misspelt_settings(
    healthy: Settings, link: RedisLink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No keys where others can reach the API; then one; then a setting that is none."""
    open_to_all = command(healthy, monkeypatch, tmp_path, SHELFLINE_HOST="0.0.0.0")  # noqa: S104  nothing listens
    KeyStore(link).create(KeyTerms(name="me", owner="me"))
    with_key = command(healthy, monkeypatch, tmp_path)
    misspelt = command(healthy, monkeypatch, tmp_path, SHELFLINE_BATCH_ROW="4")

    assert open_to_all[0] == 1
    assert (
        "ERROR    keys: there are none, so the API does not start on 0.0.0.0 -> `shelfline keys create"
        in open_to_all[1]
    )
    assert "1 thing is wrong." in open_to_all[1]
    assert "ok       keys: the API asks for them, and others too can reach it" in with_key[1]
    assert (with_key[0], misspelt[0]) == (0, 0)
    assert (
        "WARNING  settings: SHELFLINE_BATCH_ROW is set but is not a setting -> did you mean SHELFLINE_BATCH_ROWS?"
        in misspelt[1]
    )


def test_the_stack_of_this_machine_is_looked_at(
    healthy: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the environment does not name is where `shelfline up` has put it."""
    state = StackState(tmp_path / "var")
    parts = {"redis_url": healthy.redis_url, "blob_url": healthy.blob_url, "model_server": healthy.model_server}
    for name in ("REDIS_URL", "BLOB_URL", "SHELFLINE_MODEL_SERVER"):
        monkeypatch.delenv(name, raising=False)
    with state.owned() as got:
        assert got
        state.write(StackRecord("http://127.0.0.1:1", 1, None, parts))
        settings_of_stack = doctor_command._settings(state.folder)
    assert (settings_of_stack.redis_url, settings_of_stack.blob_url, settings_of_stack.model_server) == tuple(
        parts.values()
    )
    assert doctor_command._settings(state.folder).redis_url == Settings().redis_url  # it does not run any more
