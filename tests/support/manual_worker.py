"""A worker whose steps a test takes one by one: on the real queue and store, without a model server."""

from __future__ import annotations

import json
from typing import Any

from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.result import Outcome
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.store.job_store import JobStore


class ManualWorker:
    """Claims images, settles them with the results that a test gives, and does duties."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        blobs = BlobStore(settings.blob_url)
        self._queue = WorkQueue(link, settings, "manual")
        self.store = JobStore(link, blobs, settings)
        self.duties = Duties(link, blobs, settings, lambda _model: None)

    def claim(self, model: str = "default") -> list[ClaimedImage]:
        """Claim images that wait: about 16."""
        return self._queue.claim(model, 16).images

    def settle(self, image: ClaimedImage, state: str = "succeeded", **fields: Any) -> None:
        """Store the result of a claimed image, with further `fields`."""
        result = {"index": image.index, "name": image.name, "state": state, **fields}
        text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        self.store.settle([Outcome(image, state, text, 1)], 1.0)

    def settle_all(self, state: str = "succeeded", **fields: Any) -> None:
        """Claim and settle all images that wait for the model `default`, then do the duties that are due."""
        while images := self.claim():
            for image in images:
                self.settle(image, state, **fields)
        self.duties.run_due()
