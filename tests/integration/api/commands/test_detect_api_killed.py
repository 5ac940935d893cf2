"""`shelfline detect` while the API dies under its uploads."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.polling import wait_until
from tests.support.processes.detect_command import COUNT, Command
from tests.support.processes.shelfline_command import PROJECT
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack

pytestmark = pytest.mark.process


def test_the_api_killed_while_photos_are_sent(redis_server: RedisServer, tmp_path: Path) -> None:
    """The command waits until it is back, and sends again what was lost; no image comes twice."""
    with front_stack(redis_server, tmp_path) as stack:
        command = Command(tmp_path, stack)
        photos = command.photos(COUNT)
        web = next(child for child in psutil.Process().children() if _is_of(stack, child))
        line, env = web.cmdline(), web.environ()
        process = command.start(photos, "--upload")
        servers: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(2):
                _kill_amid_an_upload(stack, psutil.Process(servers[-1].pid) if servers else web)
                servers.append(subprocess.Popen(line, cwd=PROJECT, env=env))
            _, err = process.communicate(timeout=150)
            assert process.returncode == 0, err
            command.is_whole()
            assert command.rows() == COUNT
        finally:
            command.end()
            for server in servers:
                server.terminate()
                server.wait()


def _is_of(stack: FrontStack, process: psutil.Process) -> bool:
    """Whether it is the stack's API: other tests' servers may run as well."""
    return "gunicorn" in " ".join(process.cmdline()) and stack.url.endswith(f":{process.environ().get('PORT')}")


def _kill_amid_an_upload(stack: FrontStack, web: psutil.Process) -> None:
    """Kill a server when some of an upload has arrived, and not all of it."""
    wait_until(lambda: _answers(stack))
    serving = [web, *web.children(recursive=True)]
    before = _read(serving)
    wait_until(lambda: _read(serving) > before + 3_000_000)
    for process in serving:
        process.kill()
    psutil.wait_procs(serving, 10)


def _read(serving: Sequence[psutil.Process]) -> int:
    return sum(process.io_counters().read_chars for process in serving)


def _answers(stack: FrontStack) -> bool:
    try:
        return httpx.get(f"{stack.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
