"""Results by what they were made of: the sha256 of the bytes, the model and its version, the options.

In the blob store, below the period of the clock that they were written in; a period is as long as they live. Each goes
as a whole when its last result is too old, by a duty.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import dataclass
from typing import Any

import structlog

from serving.client import ServedModel
from serving.errors import ShelflineError
from workers.errors import ImageError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Outcome
from workers.jobs.options import JobOptions

log = structlog.get_logger(__name__)

_MOST_BYTES = 64_000_000  # of a result
_OF_A_JOB = {"index", "name", "custom_id", "cached"}  # what is not the image's but its job's


@dataclass(frozen=True)
class Hit:
    """What was found: a result without what is its job's."""

    result: dict[str, Any]


class ResultCache:
    """Results that were made before. It is never in the way: what it cannot read or write it does not have."""

    def __init__(self, link: RedisLink, blobs: BlobStore, seconds: float) -> None:
        """`seconds` is how long a result is good for."""
        self._link = link
        self._blobs = blobs
        self._seconds = seconds
        self._purged_later: set[int] = set()  # periods whose end is seen to

    def look_up(self, digest: str, served: ServedModel, options: JobOptions) -> Hit | None:
        """What was made of the bytes of this sha256, by this version under these options."""
        now = time.time()
        period = self._period(now)
        for one in (period, period - 1):
            try:
                found = json.loads(self._blobs.read(_path(one, digest, served, options), _MOST_BYTES))
            except ImageError:
                continue
            except (StoreUnavailableError, ValueError) as error:
                log.warning("cached result not read", error=str(error))
                continue
            if now - found["at"] <= self._seconds:
                return Hit(found["result"])
        return None

    def put(self, digest: str, served: ServedModel, options: JobOptions, outcome: Outcome) -> None:
        """Keep a result."""
        now = time.time()
        period = self._period(now)
        result = {name: value for name, value in json.loads(outcome.result).items() if name not in _OF_A_JOB}
        text = json.dumps({"at": now, "result": result}, ensure_ascii=False, separators=(",", ":"))
        try:
            if period not in self._purged_later:  # before anything is there that would stay for ever
                with translated():
                    at = int((period + 2) * self._seconds * 1000)
                    self._link.client.zadd("sl:due", {f"purge:{_folder(period)}": at}, nx=True)
                self._purged_later.add(period)
            content = io.BytesIO(text.encode("utf-8", "surrogatepass"))
            self._blobs.write(_path(period, digest, served, options), content)
        except ShelflineError as error:
            log.warning("result not cached", error=str(error))

    def _period(self, now: float) -> int:
        return int(now // self._seconds)


def _folder(period: int) -> str:
    return f"cache/{period}"


def _path(period: int, digest: str, served: ServedModel, options: JobOptions) -> str:
    asked = (options.min_score, options.max_detections, options.tiles, options.overlap)
    # The version's contract too: a version that was taken away may come back as another.
    made_by = f"{digest} {served.name} {served.version} {served.contract.to_json()} {asked}"
    name = hashlib.sha256(made_by.encode()).hexdigest()
    return f"{_folder(period)}/{name[:2]}/{name[2:]}.json"
