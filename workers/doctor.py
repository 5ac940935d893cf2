"""The checks of `shelfline doctor`: what Shelfline needs, what is wrong with it, and what to do about it."""

from __future__ import annotations

import io
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from packaging.requirements import Requirement

from serving.batching_file import batching_problem, most_rows
from serving.client import ModelClient
from serving.errors import ContractError, ShelflineError
from workers.errors import StoreUnavailableError
from workers.health import NO_WORKER, OK, consumption
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.pipeline.models import described
from workers.settings import Settings
from workers.sources.memory.figure import memory_limit, worker_memory

Level = Literal["ok", "warning", "error"]

_MIN_REDIS: Final = (7, 0)
_MAX_SKEW: Final = 1.0  # seconds; more costs nothing, but the times in logs of two hosts cannot be compared
_FULL, _NEARLY_FULL = 1_000_000_000, 10_000_000_000  # free bytes: less is an error, or a warning
_MEMORY_SHARE: Final = 0.8
_MODEL_SECONDS: Final = 5.0
# Only exporter/ and the embedded model server need these packages. The API's and the workers' containers lack them.
_MODEL_PACKAGES: Final = {"tensorflow", "tensorflow-serving-api", "keras", "h5py"}


@dataclass(frozen=True)
class Finding:
    """The result of one check. `advice` says what to do; it is empty if nothing has to be done."""

    what: str
    level: Level
    result: str
    advice: str = ""


Findings = Iterator[Finding]


def examine(settings: Settings, batching_file: Path | None = None) -> Findings:
    """Run every check and yield the findings. A check that fails does not stop the others.

    `batching_file` is the model server's --batching_parameters_file, which is compared with the models.
    """
    yield from _versions()
    link = RedisLink(settings.redis_url)
    try:
        yield from _redis(link)
    finally:
        link.close()
    yield from _blobs(settings)
    yield from _disks(settings)
    yield from _folders(settings)
    yield _memory(settings)
    yield from _models(settings, batching_file)


def _memory(settings: Settings) -> Finding:
    """Compare the most memory that a worker with these settings takes with the memory of this machine or container."""
    memory, limit = worker_memory(settings), memory_limit()
    each = (
        f"a worker process takes at most {memory.of_a_process / 1e9:.1f} GB ({memory.decoding / 1e9:.1f} to decode, "
        f"{memory.decoded_files / 1e9:.1f} for files, {memory.fetched_files / 1e9:.1f} to fetch by URL)"
    )
    if limit is None:
        return Finding("memory", "ok", f"{each}; how much there is here is unknown")
    all_of_them = f"{memory.processes} of them {memory.total / 1e9:.1f} GB; " if memory.processes > 1 else ""
    result = f"{each}; {all_of_them}there are {limit / 1e9:.1f} GB here"
    if memory.total <= limit:
        return Finding("memory", "ok", result)
    return Finding(
        "memory",
        "warning",
        result,
        "give it more memory, or lower SHELFLINE_CONCURRENCY, SHELFLINE_MAX_IMAGE_PIXELS, SHELFLINE_MAX_IMAGE_BYTES or "
        "SHELFLINE_FETCH_THREADS, unless no worker runs here",
    )


def _folders(settings: Settings) -> Findings:
    """Check the folders that settings name. A missing one is only a warning: it may be mounted later, or elsewhere."""
    folders = [("SHELFLINE_FOLDER_ROOTS", str(root)) for root in settings.folder_roots]
    folders += [("SHELFLINE_OUTPUT_PREFIXES", prefix) for prefix in settings.output_prefixes if "://" not in prefix]
    folders += [("SHELFLINE_CONTRACTS", str(settings.contracts))] if settings.contracts else []
    for variable, folder in folders:
        if not Path(folder).is_dir():
            advice = "mount it or change the setting, unless only other processes need it"
            yield Finding("folders", "warning", f"{folder} of {variable} does not exist here", advice)


def _versions() -> Findings:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("versions", "ok", f"Shelfline {metadata.version('shelfline')}, Python {python}")
    for text in metadata.requires("shelfline") or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if requirement.name not in _MODEL_PACKAGES:
                yield _wrong_version(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield _wrong_version(f"{requirement.name} {installed} is installed, and {requirement.specifier} is needed")


def _wrong_version(problem: str) -> Finding:
    return Finding("versions", "error", problem, "pip install -r requirements.txt")


def _redis(link: RedisLink) -> Findings:
    try:
        with translated():
            before = time.time()
            seconds, micros = link.client.time()
            took = time.time() - before
            info = link.client.info()
            consumed = consumption(link)
    except StoreUnavailableError as error:
        yield Finding("redis", "error", str(error), "start Redis, or a whole stack with `shelfline up`")
        return
    version = str(info["redis_version"])
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    old = numbers < _MIN_REDIS
    yield Finding(
        "redis",
        "error" if old else "ok",
        f"{name} answers in {took * 1000:.1f} ms",
        "install 7.0 or newer" if old else "",
    )
    if info.get("role") != "master":
        yield Finding("redis", "error", "it is a replica and accepts no writes", "set REDIS_URL to its master")
    yield _policy(str(info["maxmemory_policy"]))
    yield from _persistence(link, info)
    limit, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    if limit and used > _MEMORY_SHARE * limit:
        yield Finding(
            "redis", "warning", f"it uses {used / limit:.0%} of its maxmemory", "raise maxmemory; delete old jobs"
        )
    yield _clock(seconds + micros / 1e6 - before - took / 2)
    if consumed == OK:
        yield Finding("worker", "ok", "one is there, and takes what waits")
    elif consumed == NO_WORKER:
        yield Finding("worker", "warning", "none took up work lately", "start the process `worker`")
    else:
        yield Finding("worker", "error", consumed, "end the process `worker`, and start it again")


def _policy(policy: str) -> Finding:
    if policy == "noeviction":
        return Finding("redis", "ok", "it evicts nothing")
    return Finding(
        "redis",
        "error",
        f"when it is full it evicts keys (maxmemory-policy {policy}), and accepted images with them",
        "`redis-cli config set maxmemory-policy noeviction`, and put it into redis.conf",
    )


def _persistence(link: RedisLink, info: dict[str, Any]) -> Findings:
    if not info.get("aof_enabled"):
        yield Finding(
            "redis",
            "error",
            "it has no append-only file: if it dies, accepted images are lost",
            "`redis-cli config set appendonly yes`, and put it into redis.conf",
        )
        return
    if info.get("aof_last_write_status") != "ok" or info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield Finding("redis", "error", "it could not write its append-only file", "see its log; make room on its disk")
    try:
        with translated():
            sync = link.client.config_get("appendfsync").get("appendfsync", "")
    except Exception:  # noqa: BLE001  a managed Redis has no CONFIG, and its errors differ
        sync = ""
    if sync == "always":
        yield Finding("redis", "ok", "its append-only file is synced at each write")
    else:
        yield Finding(
            "redis",
            "warning",
            f"its append-only file is synced {sync}" if sync else "how its append-only file is synced cannot be seen",
            "set `appendfsync always`, or a crash of Redis can lose the jobs of the last second",
        )


def _clock(skew: float) -> Finding:
    if abs(skew) <= _MAX_SKEW:
        return Finding("clock", "ok", f"within {_MAX_SKEW:.0f} s of Redis'")
    way = "ahead of" if skew < 0 else "behind"
    return Finding("clock", "warning", f"{abs(skew):.0f} s {way} Redis'", "synchronise the clocks of both hosts (NTP)")


def _blobs(settings: Settings) -> Findings:
    path, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(1000)
    began = time.perf_counter()
    try:
        store = BlobStore.of(settings)
        store.write(path, io.BytesIO(content))
        same = store.read(path, len(content)) == content
        store.delete_tree(path)
    except (ShelflineError, OSError) as error:
        yield Finding("blob store", "error", str(error), "set BLOB_URL to a store that every process can write")
        return
    except Exception as error:  # noqa: BLE001  each store's library has its own errors
        yield Finding("blob store", "error", f"{type(error).__name__}: {error}", "check BLOB_URL and its credentials")
        return
    if not same:
        yield Finding("blob store", "error", "it returns other bytes than were written", "check the store of BLOB_URL")
        return
    yield Finding("blob store", "ok", f"written, read and deleted in {1000 * (time.perf_counter() - began):.0f} ms")


def _disks(settings: Settings) -> Findings:
    places = {"disk of temporary files": Path(tempfile.gettempdir())}
    if "://" not in settings.blob_url:
        places["disk of the blob store"] = Path(settings.blob_url)
    for what, place in places.items():
        existing = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        level: Level = "error" if free < _FULL else "warning" if free < _NEARLY_FULL else "ok"
        yield Finding(what, level, f"{free / 1e9:.1f} GB free", "" if level == "ok" else "make room on its disk")


def _models(settings: Settings, batching_file: Path | None = None) -> Findings:
    most = None
    if batching_file is not None:
        try:
            most = most_rows(batching_file)
        except ContractError as error:
            yield Finding(
                "batching file", "error", str(error), "mend it, or name the model server's with --batching-file"
            )
    client = ModelClient(settings.model_server, timeout=_MODEL_SECONDS)
    try:
        for model in settings.served_models:
            try:
                served = described(client, settings.contracts, model)
            except ShelflineError as error:
                advice = "start the model server, check SHELFLINE_MODEL_SERVER, and see `shelfline models list`"
                yield Finding(f"model {model}", "error", str(error), advice)
            else:
                yield Finding(f"model {model}", "ok", f"version {served.version} is served and has a contract")
                problem = None if most is None else batching_problem(most, served, settings.batch_rows)
                if problem:
                    yield Finding(f"batching of {model}", "error", problem)
                elif most is not None:
                    yield Finding(
                        f"batching of {model}", "ok", f"it takes the calls of a worker, of {most} rows at most"
                    )
    finally:
        client.close()
