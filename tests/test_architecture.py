"""The folders are the architecture: who imports whom, and that every queue has someone who works it off."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.commands.stack.plan import read_procfile
from workers.queue import wakeups

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("api", "workers", "serving", "exporter")

# What `api` may know of `workers`: accepting jobs and looking at them, never doing them.
OF_WORKERS_FOR_API = {
    "telemetry",
    "io",
    "results",
    "metrics_page",
    "process",
    "settings_checks",
    "annotate",
    "backend",
    "baidu",
    "blobs",
    "doctor",
    "errors",
    "exits",
    "formats",
    "health",
    "images",
    "immediate",
    "indexes",
    "intake",
    "jobs",
    "keys",
    "listing",
    "load",
    "logs",
    "metrics",
    "catalog",
    "documents",
    "labels",
    "originals",
    "origins",
    "outputs",
    "parent_death",
    "queue",
    "rates",
    "redis_link",
    "robots",
    "selection",
    "settings",
    "sources",
    "store",
    "terms",
    "tracing",
    "urls",
    "webhooks",
}


def _modules() -> dict[str, Path]:
    found = {}
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from a import b` counts as a.b where that is a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide who imports whom"
            base = node.module or ""
            submodules = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in MODULES]
            yield from submodules or [base]


def _allowed(importer: str, imported: str) -> bool:
    """Whether one module of the project may import another."""
    own, other = importer.split(".", maxsplit=1)[0], imported.split(".", maxsplit=1)[0]
    if other == own:
        # The worker knows nothing of the embedded server, a stand-in; so neither do the parts of serving it uses.
        return (
            not imported.startswith("serving.server")
            or importer.startswith("serving.server")
            or importer == "serving.__main__"
        )
    if own == "api":
        if other == "workers":
            return imported.removeprefix("workers.").split(".")[0] in OF_WORKERS_FOR_API
        return imported in {"serving.errors", "serving.contract", "serving.boxes.tiles"}
    if own == "workers":
        return other == "serving" and not imported.startswith("serving.server")
    if own == "exporter":
        meaning = {"contract", "description", "decode", "suppression", "errors"}  # written once, see decision 3
        return imported.removeprefix("serving.") in meaning
    return False


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    """Api -> workers -> serving <- exporter, and only what each may know of the next."""
    inside = {one for one in _imports(MODULES[module]) if one.split(".")[0] in FOLDERS}

    assert sorted(one for one in inside if not _allowed(module, one)) == []


@pytest.mark.parametrize("module", MODULES)
def test_foreign_packages_stay_where_they_belong(module: str) -> None:
    """TensorFlow only where models run, Flask only in the API, Celery only in the workers."""
    used = {one.split(".")[0] for one in _imports(MODULES[module])}
    top = module.split(".", maxsplit=1)[0]
    heavy = {"tensorflow", "tensorflow_serving", "keras", "h5py"}
    if not (module.startswith(("exporter", "serving.server")) or module == "serving.wire.make_protos"):
        assert used & heavy == set()
    if top != "api":
        assert used & {"flask", "gunicorn", "werkzeug", "httpx", "honcho", "rich"} == set()
    if not module.startswith("serving.server"):
        assert used & {"waitress", "grpc_health"} == set()
    if top != "workers":
        assert used & {"celery", "kombu", "redis"} == set()


def test_the_sender_of_webhooks_knows_nothing_of_the_pipeline(tmp_path: Path) -> None:
    """It is a process of its own: images and models are none of its business, nor their libraries' memory."""
    script = "import sys, workers.webhooks.main; print(*sys.modules)"
    env = os.environ | {"BLOB_URL": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=env, capture_output=True, text=True, check=True
    )

    assert (
        set(done.stdout.split()) & {"tensorflow", "numpy", "PIL", "grpc", "flask", "workers.pipeline.pipeline"} == set()
    )


def test_there_is_no_drawer_for_everything() -> None:
    """What belongs nowhere belongs somewhere: no common, no utils."""
    assert [name for name in MODULES if {"common", "utils", "util", "helpers"} & set(name.split("."))] == []


def test_the_api_starts_light() -> None:
    """Importing the API brings in neither TensorFlow nor a Celery task."""
    script = "import sys, api.wsgi; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert loaded & {"tensorflow", "keras", "workers.main", "workers.pipeline.pipeline", "celery.app.trace"} == set()


def test_every_queue_has_a_consumer() -> None:
    """A ring on a queue that no process of the Procfile works off would never be heard."""
    commands = map(shlex.split, read_procfile(PROJECT / "Procfile").values())
    consumed = {queue for one in commands if "--queues" in one for queue in one[one.index("--queues") + 1].split(",")}

    assert consumed == {getattr(wakeups, name) for name in dir(wakeups) if name.endswith("_QUEUE")}
