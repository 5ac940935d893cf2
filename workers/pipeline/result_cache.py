"""A cache of results, by the sha256 of the image's bytes, the model, its version and the options.

The results are in the blob store, in one folder for each period of time in which they were written. A period is as long
as a result is valid. A duty deletes a folder as a whole once its last result has expired.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import structlog

from serving.client import ServedModel
from serving.errors import ShelflineError
from workers.errors import ImageError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.jobs.options import JobOptions
from workers.jobs.result import Outcome, compact_json

log = structlog.get_logger(__name__)

_MAX_BYTES = 64_000_000  # of a cached result
_JOB_FIELDS = {"index", "name", "custom_id", "cached"}  # fields that depend on the job and not on the image


class ResultCache:
    """Store and look up results. Errors of Redis or the blob store are logged and not raised.

    A result that cannot be read or written is treated as not cached.
    """

    def __init__(self, link: RedisLink, blobs: BlobStore, seconds: float) -> None:
        """Keep each result for `seconds`."""
        self._link = link
        self._blobs = blobs
        self._seconds = seconds
        self._scheduled: set[int] = set()  # periods whose deletion is scheduled

    def look_up(self, digest: str, served: ServedModel, options: JobOptions) -> dict[str, Any] | None:
        """Return the cached result of the bytes with this sha256, by this version with these options, or None.

        The result has no fields that depend on the job.
        """
        try:
            now = self._link.now()
        except StoreUnavailableError as error:
            log.warning("cached result not read", error=str(error))
            return None
        newest = self._period(now)
        for period in (newest, newest - 1):
            try:
                cached = json.loads(self._blobs.read(_path(period, digest, served, options), _MAX_BYTES))
            except ImageError:
                continue
            except (StoreUnavailableError, ValueError) as error:
                log.warning("cached result not read", error=str(error))
                continue
            if now - cached["at"] <= self._seconds:
                return dict(cached["result"])
        return None

    def put(self, digest: str, served: ServedModel, options: JobOptions, outcome: Outcome) -> None:
        """Store the result of an outcome, without the fields that depend on the job."""
        result = {name: value for name, value in json.loads(outcome.result).items() if name not in _JOB_FIELDS}
        try:
            now = self._link.now()
            period = self._period(now)
            if period not in self._scheduled:  # scheduled before the first write, so that no folder stays forever
                with translated():
                    at = int((period + 2) * self._seconds * 1000)
                    self._link.client.zadd("sl:due", {f"purge:{_folder(period)}": at}, nx=True)
                self._scheduled.add(period)
            path = _path(period, digest, served, options)
            text = compact_json({"at": now, "result": result})
            content = io.BytesIO(text.encode("utf-8", "surrogatepass"))
            self._blobs.write(path, content, durable=False)  # what a power failure damages is computed again
        except ShelflineError as error:
            log.warning("result not cached", error=str(error))

    def _period(self, now: float) -> int:
        return int(now // self._seconds)


def _folder(period: int) -> str:
    return f"cache/{period}"


def _path(period: int, digest: str, served: ServedModel, options: JobOptions) -> str:
    chosen = (options.min_score, options.max_detections, options.tiles, options.overlap)
    # The contract is part of the key, because a version number may be reused for another model.
    made_by = f"{digest} {served.name} {served.version} {served.contract.to_json()} {chosen}"
    name = hashlib.sha256(made_by.encode()).hexdigest()
    return f"{_folder(period)}/{name[:2]}/{name[2:]}.json"
