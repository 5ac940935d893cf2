"""The checks of `/readyz`: whether work can be done."""

from __future__ import annotations

import shutil
import tempfile

from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.settings import Settings
from workers.store.catalog import Catalog

OK = "ok"
WORKER_SEEN_KEY = "sl:worker-seen"  # set, with a time to live, by workers that answer a wake-up or probe the model
ATTENDED_SECONDS = 25  # how long such a note is valid; also in lib/constants.lua
_LATE_MS = 1000 * ATTENDED_SECONDS
NO_WORKER = "No worker has taken up work lately: start one."


def note_worker(link: RedisLink, target: str = "") -> None:
    """Note that a worker is alive and, with `target`, that it works for it or knows why nobody can.

    Raises StoreUnavailableError if Redis is down.
    """
    with translated(), link.client.pipeline(transaction=False) as pipe:
        pipe.set(WORKER_SEEN_KEY, "1", ex=ATTENDED_SECONDS)
        if target:
            pipe.set(f"sl:attended:{target}", "1", ex=ATTENDED_SECONDS)
        pipe.execute()


def consumption(link: RedisLink) -> str:
    """Return "ok" if a worker is there, and takes the images and does the duties that wait; else what is wrong.

    Work is late after 25 s in which it could have been taken, and none was: none of its target, for an image. Images
    that wait since their model is not available are not late. Raises StoreUnavailableError if Redis is down.
    """
    with translated():
        seen = link.client.exists(WORKER_SEEN_KEY)
    if not seen:
        return NO_WORKER
    target, image_ms, duty_ms = link.run("monitoring/unattended")
    advice = "look at the workers' logs, and restart them"
    if image_ms > _LATE_MS:
        return f"No worker takes images of {target}; the oldest has waited for {image_ms / 1000:.0f} s: {advice}."
    if duty_ms > _LATE_MS:
        return f"No worker lists, ends or deletes jobs; the oldest waits for {duty_ms / 1000:.0f} s: {advice}."
    return OK


class Health:
    """Checks what Shelfline needs: Redis, the blob store, an available model, a worker that took up work lately."""

    def __init__(self, link: RedisLink, blobs: BlobStore, settings: Settings) -> None:
        self._link = link
        self._blobs = blobs
        self._settings = settings

    def checks(self) -> dict[str, str]:
        """Run the checks and return the result of each by its name: "ok", or what is wrong."""
        results = dict.fromkeys(("redis", "blob_store", "disk", "model", "worker"), OK)
        try:
            self._blobs.check()
        except StoreUnavailableError as error:
            results |= {"blob_store": str(error), "disk": "unknown"}  # a store that hangs would not tell its space
        else:
            results["disk"] = self._disk()
        model = self._settings.model
        try:
            published = Catalog(self._link).look_up(model)
            results["worker"] = consumption(self._link)
        except StoreUnavailableError as error:
            return results | {"redis": str(error), "model": "unknown", "worker": "unknown"}
        results["redis"] = self._redis_keeps_jobs()
        if published is None:
            results["model"] = f"No worker has looked for model {model!r} lately."
        elif not published.available:
            results["model"] = published.error
        return results

    def _redis_keeps_jobs(self) -> str:
        """Return "ok" if Redis accepts jobs and keeps them, or what is wrong."""
        try:
            self._link.check_writes()
            self._link.check_keeps()
        except StoreUnavailableError as error:
            return f"{error.reason}: {error}" if error.reason else str(error)
        return OK

    def _disk(self) -> str:
        """Return "ok", or which folder has too little free space."""
        try:
            free = {"blob store's folder": self._blobs.free_bytes()}
            free["temporary folder"] = shutil.disk_usage(tempfile.gettempdir()).free
        except (OSError, StoreUnavailableError) as error:
            return f"The free space cannot be read ({error})."
        for name, free_bytes in free.items():
            if free_bytes is not None and free_bytes < self._settings.min_free_bytes:
                return f"The {name} has only {free_bytes} bytes free, less than SHELFLINE_MIN_FREE_BYTES: make room."
        return OK
