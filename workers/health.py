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
WORKER_SEEN_SECONDS = 60


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
            results["blob_store"] = str(error)
        results["disk"] = self._disk()
        model = self._settings.model
        try:
            published = Catalog(self._link).look_up(model)
            with translated():
                seen = self._link.client.exists(WORKER_SEEN_KEY)
        except StoreUnavailableError as error:
            return results | {"redis": str(error), "model": "unknown", "worker": "unknown"}
        results["redis"] = self._redis_keeps_jobs()
        if published is None:
            results["model"] = f"No worker has looked for model {model!r} lately."
        elif not published.available:
            results["model"] = published.error
        if not seen:
            results["worker"] = "No worker has taken up work lately: start one."
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
