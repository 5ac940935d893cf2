"""The folders are the architecture: who imports whom, how large a folder is, and that every queue has a consumer."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from api.commands.stack.plan import read_procfile
from workers.jobs import lanes
from workers.queue import wakeups

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("api", "workers", "serving", "exporter")
MAX_MODULES, MAX_FOLDERS = 12, 9  # of a folder

# The rooms of a package (its modules and its folders), bottom up: each imports only from those before it.
ORDER = {
    "workers": (
        "errors",
        "process",
        "settings_checks",
        "jobs",
        "robots",
        "settings",
        "telemetry",
        "io",
        "store",
        "queue",
        "health",
        "metrics_page",
        "sources",
        "results",
        "webhooks",
        "duties",
        "backend",
        "pipeline",
        "doctor",
        "runtime",
        "main",
    ),
    "api": (
        "http",
        "access",
        "requests",
        "schema",
        "openapi",
        "gunicorn",
        "client",
        "routes",
        "app",
        "wsgi",
        "commands",
    ),
    "serving": (
        "errors",
        "malloc",
        "utf8_files",
        "contract",
        "label_files",
        "conventions",
        "description",
        "boxes",
        "wire",
        "client",
        "batching_file",
        "server",
        "__main__",
    ),
    "serving.server": (
        "errors",
        "flag_values",
        "other_flags",
        "flags",
        "metrics",
        "stop",
        "text_files",
        "versions",
        "calls",
        "batching",
        "settings_files",
        "rpc",
        "loading",
        "rest",
        "front",
        "app",
    ),
    "exporter": (
        "errors",
        "versions",
        "weights",
        "graph",
        "models",
        "inspecting",
        "comparing",
        "models_command",
        "__main__",
    ),
}

# What `api` may know of `workers`: accepting jobs and looking at them, never doing them.
OF_WORKERS_FOR_API = (
    "backend",
    "doctor",
    "errors",
    "health",
    "io",
    "jobs",
    "metrics_page",
    "process",
    "queue.work_queue",
    "results",
    "robots",
    "settings",
    "settings_checks",
    "sources",
    "store",
    "telemetry",
    "webhooks",
)
OF_SERVING_FOR_API = ("errors", "contract", "boxes.tiles")
# What a served model means is written once, see decision 3.
OF_SERVING_FOR_EXPORTER = (
    "contract",
    "label_files",
    "utf8_files",
    "conventions",
    "description",
    "errors",
    "boxes.arrays",
    "boxes.candidates",
    "boxes.decode",
    "boxes.detections",
    "boxes.preprocess",
    "boxes.suppression",
)

# Who reads this host's clock, and why. All other modules take the time from Redis: hosts' clocks differ by minutes.
OWN_CLOCK = {
    "api.commands.detect.arrivals": "compares it with the times of this machine's files",
    "api.commands.webhook_listener": "prints the reader's own time",
    "workers.doctor": "compares the clock with Redis'",
    "workers.jobs.job": "makes ids that sort by time, more or less",
    "workers.store.rate_limits": "subtracts it from a time that the package limits made with the same clock",
}
_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}

# Modules of one name within a package: the same thing at two levels, as a resource's route, its command and its client.
SAME_AT_TWO_LEVELS = {
    "api": {"errors", "events", "jobs", "options", "webhooks"},
    "workers": {"main"},
    "serving": {"errors"},
    "exporter": set(),
}


def _modules() -> dict[str, Path]:
    modules = {}
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = _modules()


def _imports(path: Path, *, for_types: bool = True) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from a import b` counts as a.b where that is a module.

    Without `for_types` what stands under `if TYPE_CHECKING:` is left out.
    """
    left_out = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            left_out |= {inner for statement in node.body for inner in ast.walk(statement)}
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide who imports whom"
            base = node.module or ""
            submodules = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in MODULES]
            yield from submodules or [base]


GRAPH = {
    module: {imported for imported in _imports(path, for_types=False) if imported in MODULES} - {module}
    for module, path in MODULES.items()
}


def _is_part_of(module: str, of: str, allowed: tuple[str, ...]) -> bool:
    """Whether a module of the package `of` is one of these modules, or within one of these folders."""
    inside = module.removeprefix(f"{of}.")
    return any(inside == name or inside.startswith(f"{name}.") for name in allowed)


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
            return _is_part_of(imported, other, OF_WORKERS_FOR_API)
        return other == "serving" and _is_part_of(imported, other, OF_SERVING_FOR_API)
    if own == "workers":
        return other == "serving" and not imported.startswith("serving.server")
    if own == "exporter":
        return other == "serving" and _is_part_of(imported, other, OF_SERVING_FOR_EXPORTER)
    return False


def test_imports_go_one_way() -> None:
    """Api -> workers -> serving <- exporter, and only what each may know of the next."""
    arrows = [
        (module, imported)
        for module, path in MODULES.items()
        for imported in sorted(set(_imports(path)))
        if imported.split(".")[0] in FOLDERS
    ]

    assert arrows
    assert [arrow for arrow in arrows if not _allowed(*arrow)] == []


def test_every_room_has_its_place() -> None:
    """The order names each module and folder of its package, once."""
    for package, order in ORDER.items():
        inside = [module.removeprefix(f"{package}.") for module in MODULES if module.startswith(f"{package}.")]

        assert sorted({name.split(".")[0] for name in inside}) == sorted(order), package


def test_wings_import_from_below() -> None:
    """Within a package, each room imports only from those that stand before it in the order."""
    wrong = []
    for package, order in ORDER.items():
        for module, imports in GRAPH.items():
            for imported in imports:
                if module.startswith(f"{package}.") and imported.startswith(f"{package}."):
                    room, other = (name.removeprefix(f"{package}.").split(".")[0] for name in (module, imported))
                    if order.index(other) > order.index(room):
                        wrong.append(f"{module} imports {imported}")

    assert sorted(wrong) == []


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left of a graph after taking off, again and again, what imports nothing that is left."""
    left = {name: set(targets) for name, targets in graph.items()}
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    return sorted(left)


def test_nothing_goes_in_a_circle() -> None:
    """Neither modules, nor the modules and folders within any one package."""
    circles = {"modules": _circle(GRAPH)}
    for package in (name for name, path in MODULES.items() if path.name == "__init__.py"):
        rooms: dict[str, set[str]] = defaultdict(set)
        for module, imports in GRAPH.items():
            if module.startswith(f"{package}."):
                room = module.removeprefix(f"{package}.").split(".")[0]
                others = {
                    name.removeprefix(f"{package}.").split(".")[0] for name in imports if name.startswith(f"{package}.")
                }
                rooms[room] |= others - {room}
        circles[package] = _circle(rooms)

    assert {name: circle for name, circle in circles.items() if circle} == {}


def test_folders_are_small() -> None:
    """A folder that needs a table of contents is two folders."""
    modules = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    folders = Counter(
        folder.parent for folder in {path.parent for path in MODULES.values()} if folder.parent != PROJECT
    )

    assert {str(folder): count for folder, count in modules.items() if count > MAX_MODULES} == {}
    assert {str(folder): count for folder, count in folders.items() if count > MAX_FOLDERS} == {}


def test_names_of_modules_are_unique() -> None:
    """Within a package a name stands for one thing; those that stand for the same at two levels are listed."""
    for package, same in SAME_AT_TWO_LEVELS.items():
        names = Counter(
            path.stem
            for module, path in MODULES.items()
            if module.split(".")[0] == package and path.name != "__init__.py"
        )

        assert {name for name, count in names.items() if count > 1} == same, package


def test_foreign_packages_stay_where_they_belong() -> None:
    """TensorFlow only where models run, Flask only in the API, Celery only in the workers."""
    wrong = []
    for module, path in MODULES.items():
        top = module.split(".", maxsplit=1)[0]
        forbidden = set()
        if not (module.startswith(("exporter", "serving.server")) or module == "serving.wire.make_protos"):
            forbidden |= {"tensorflow", "tensorflow_serving", "keras", "h5py"}
        if top != "api":
            forbidden |= {"flask", "gunicorn", "werkzeug", "httpx", "honcho", "rich"}
        if not module.startswith("serving.server"):
            forbidden |= {"waitress", "grpc_health"}
        if top != "workers":
            forbidden |= {"celery", "kombu", "redis"}
        used = {imported.split(".")[0] for imported in _imports(path)}
        wrong += [(module, name) for name in sorted(used & forbidden)]

    assert wrong == []


def test_the_sender_of_webhooks_knows_nothing_of_the_pipeline(tmp_path: Path) -> None:
    """It is a process of its own: images and models are none of its business, nor their libraries' memory."""
    script = "import sys, workers.webhooks.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=os.environ | {"BLOB_URL": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(done.stdout.split()) & {"tensorflow", "numpy", "PIL", "grpc", "flask", "workers.pipeline"} == set()


def test_only_redis_clock_decides() -> None:
    """A lease, an end or a due time by a host's own clock would be wrong for all other hosts."""
    readers = {
        module
        for module, path in MODULES.items()
        if module.startswith(("api", "workers"))
        and _CLOCKS
        & {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    }

    assert readers == OWN_CLOCK.keys()


def test_there_is_no_drawer_for_everything() -> None:
    """What belongs nowhere belongs somewhere: no common, no utils."""
    assert [name for name in MODULES if {"common", "utils", "util", "helpers"} & set(name.split("."))] == []


def test_the_api_starts_light() -> None:
    """Importing the API brings in neither TensorFlow nor a Celery task."""
    script = "import sys, api.wsgi; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert loaded & {"tensorflow", "keras", "workers.main", "workers.pipeline", "celery.app.trace"} == set()


def test_every_queue_has_a_consumer() -> None:
    """A message on a queue that no process of the Procfile works off would never be heard."""
    commands = map(shlex.split, read_procfile(PROJECT / "Procfile").values())
    consumed = {
        queue
        for command in commands
        if "--queues" in command
        for queue in command[command.index("--queues") + 1].split(",")
    }
    named = {getattr(module, name) for module in (lanes, wakeups) for name in dir(module) if name.endswith("_QUEUE")}

    assert consumed == named
