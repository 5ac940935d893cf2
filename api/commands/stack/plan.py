"""Plan the stack of one machine: its processes, with their ports and settings."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from honcho.environ import parse_procfile

from api.commands.errors import StackError
from workers.settings import Settings, variable_of

PROJECT = Path(__file__).resolve().parents[3]

_PARTS = ("redis_url", "blob_url", "model_server", "contracts")


@dataclass(frozen=True)
class StackPlan:
    """The processes of a stack: their commands by name, and the environment that they share.

    `parts` are the settings that the plan chose because the environment did not set them: where Redis, the blobs, the
    model server and the contracts are.
    """

    url: str
    commands: Mapping[str, str]
    env: Mapping[str, str]
    own_redis: bool
    own_model: bool
    parts: Mapping[str, str]


def plan_stack(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    data: Path,
    models: Path,
    model: str,
    port: int,
    roots: Sequence[Path],
) -> StackPlan:
    """Plan a stack that keeps its Redis and blobs in the folder `data`; `port` 0 takes a free port.

    Its model server serves the models in the folder `models`; jobs that name none use `model`.
    If the settings name a Redis or a model server, the stack uses it and starts none of its own. Raises StackError if
    a Procfile is missing.
    """
    given = settings.model_fields_set
    web_port, redis_port, model_port = free_ports(3)
    env = {
        **environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PORT": str(port or web_port),
        "SHELFLINE_VAR": str(data),
        "SHELFLINE_MODEL": model,
        "SHELFLINE_CONTRACTS": str(settings.contracts or models.absolute()),
        "BLOB_URL": _absolute_url(settings.blob_url) if "blob_url" in given else str(data / "blobs"),
        # A root with a `:` in its name would be read as two roots, so it is left out and its images are uploaded.
        "SHELFLINE_FOLDER_ROOTS": os.pathsep.join(
            str(root) for root in (*settings.folder_roots, *roots) if os.pathsep not in str(root)
        ),
    }
    commands = read_procfile(PROJECT / "Procfile")
    local = read_procfile(PROJECT / "Procfile.local")
    own_redis, own_model = "redis_url" not in given, "model_server" not in given
    if own_redis:
        env |= {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "REDIS_PORT": str(redis_port)}
        commands = {"redis": local["redis"], **commands}
    if own_model:
        env |= {
            "SHELFLINE_MODEL_SERVER": f"127.0.0.1:{model_port}",
            "SHELFLINE_MODELS": str(models.absolute()),  # all that is in it is served, so jobs may ask for it
            "MODEL_PORT": str(model_port),
            "MODEL_CONFIG": str(data / "models.config"),
        }
        commands = {"model": local["model"], **commands}
    else:
        env.pop("SHELFLINE_MODELS", None)  # the other server may have other models
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  compares, binds nothing
    host = f"[{host}]" if ":" in host else host
    parts = {name: env[variable_of(name)] for name in _PARTS if name not in given}
    return StackPlan(f"http://{host}:{env['PORT']}", commands, env, own_redis, own_model, parts)


def read_procfile(path: Path) -> dict[str, str]:
    """Return the commands of a Procfile by name; raises StackError if the file cannot be read."""
    try:
        return dict(parse_procfile(path.read_text()).processes)
    except OSError as error:
        raise StackError(
            f"{path} cannot be read ({error.strerror}): run the command in a checkout of Shelfline."
        ) from error


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports of 127.0.0.1."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def _absolute_url(url: str) -> str:
    return url if "://" in url or "::" in url else str(Path(url).absolute())
