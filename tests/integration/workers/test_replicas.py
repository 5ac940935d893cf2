"""Several model servers behind one name: they share the work, and one that dies takes nothing with it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.machine import free_port
from tests.support.models import write_tiny_model
from tests.support.polling import wait_until
from tests.support.servers.model_server import ServerProcess
from tests.support.servers.name_server import name_server
from workers.io.redis_link import RedisLink
from workers.settings import Settings

from .conftest import LEASE, Worker, complete, photo, ringing, under_way

pytestmark = pytest.mark.process

HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
PHOTOS = 240


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Three real model servers of one model, on one port of three addresses."""
    write_tiny_model(tmp_path / "default", 1, delay_ms=150)
    monitoring = tmp_path / "monitoring.txt"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    port, rest = free_port(), free_port()
    flags = (f"--rest_api_port={rest}", f"--monitoring_config_file={monitoring}")
    started = [
        ServerProcess(tmp_path / "default", tmp_path / f"{host}.log", port=port, flags=(*flags, f"--host={host}"))
        for host in HOSTS
    ]
    for server in started:
        server.start(ready=False)
    yield started
    for server in started:
        server.end()


@pytest.fixture
def name(servers: list[ServerProcess]) -> Iterator[str]:
    """The name that all three answer to, as a setting says it."""
    with name_server(list(HOSTS)) as authority:
        yield f"dns://{authority}/serving.test:{servers[0].port}"


@pytest.fixture
def front(settings: Settings, link: RedisLink, name: str) -> Iterator[Worker]:
    """A front end of workers that know the name."""
    worker = Worker(settings.model_copy(update={"model_server": name, "lease_seconds": LEASE}), link)
    yield ringing(worker)
    worker.close()


def _requests(server: ServerProcess, host: str) -> int:
    """How many calls a server answered well."""
    rest = next(flag for flag in server.flags if flag.startswith("--rest_api_port=")).partition("=")[2]
    page = httpx.get(f"http://{host}:{rest}/metrics").text
    lines = [line for line in page.splitlines() if line.startswith(":tensorflow:serving:request_count{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if 'status="OK"' in line)


def test_one_of_three_servers_dies_under_a_job(
    front: Worker, start: Callable[[str], object], servers: list[ServerProcess]
) -> None:
    """All three work; what the dead one had in hand the others do, each image once; back again, it works with them."""
    for server, host in zip(servers, HOSTS, strict=True):
        wait_until(partial(_answers, server, host), what=f"the server on {host}")
    job = front.submit(*[photo(number) for number in range(PHOTOS)])
    start("prefork")
    under_way(front, job, 80)
    assert all(_requests(server, host) > 2 for server, host in zip(servers, HOSTS, strict=True))

    servers[1].signal(signal.SIGKILL)
    complete(front, job)
    assert all(result["model_version"] == 1 for result in front.results(job))

    servers[1].end()
    servers[1].start(ready=False)
    wait_until(lambda: _answers(servers[1], HOSTS[1]), what="the server that died")
    before = _requests(servers[1], HOSTS[1])
    wait_until(lambda: _more(front, servers[1], before), what="work for the server that is back")


def _more(front: Worker, server: ServerProcess, before: int) -> bool:
    """Whether a further job has it answer more than it did."""
    complete(front, front.submit(*[photo(number) for number in range(24)]))
    return _requests(server, HOSTS[1]) > before


def _answers(server: ServerProcess, host: str) -> bool:
    assert server.process is not None
    assert server.process.poll() is None, server.text()
    try:
        return _requests(server, host) >= 0
    except httpx.TransportError:
        return False
