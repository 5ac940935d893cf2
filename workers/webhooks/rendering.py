"""What a delivery says, made when it is sent: rows of the outbox hold references only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from workers.errors import JobGoneError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.document import JobDocument, job_document, rfc3339, urls_at
from workers.jobs.job import Job
from workers.jobs.webhook import DeliveryId, Event, WebhookFormat
from workers.labels import Labels
from workers.store.capacity import Load
from workers.store.catalog import Catalog
from workers.store.result_segments import Segments
from workers.webhooks.bodies import baidu_batch_text, baidu_text, envelope, item_data, job_data
from workers.webhooks.outbox import DueDelivery

_NOTHING: Mapping[str, Any] = {"state": "succeeded", "detections": [], "custom_id": "test"}


class Renderer:
    """Makes bodies. Raises StoreUnavailableError, and JobGoneError where the job was deleted meanwhile."""

    def __init__(self, link: RedisLink, blobs: BlobStore) -> None:
        self._segments = Segments(link, blobs)
        self._load = Load(link)
        self._catalog = Catalog(link)

    def body(self, due: DueDelivery) -> str:
        """The body of a delivery."""
        told, written = due.id, due.webhook.format
        if told is None:
            return _test(due)
        job = due.job
        document = job_document(job, urls_at(due.stored["base_url"], job.id), self._load.estimate(job))
        if written == WebhookFormat.BAIDU_BATCH:
            return baidu_batch_text(self._results(job, 0, job.total), document, self._labels(job))
        if told.kind == Event.ITEM_FINISHED:
            result = next(self._results(job, told.number, told.number + 1), None)
            if result is None:
                raise JobGoneError(f"The result {told.number} of {job.id} was deleted.")
            if written == WebhookFormat.BAIDU:
                return baidu_text(result, job.id, self._labels(job))
            return envelope(told.kind, _now(), item_data(result, document))
        return envelope(told.kind, _when(told, document), job_data(document))

    def _results(self, job: Job, start: int, end: int) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._segments.read(job.id, start, end, job.total))

    def _labels(self, job: Job) -> Labels:
        contracts = self._catalog.contracts(job.options.model, job.model_versions)
        return Labels(contracts, job.options.min_score)


def _test(due: DueDelivery) -> str:
    if due.webhook.format == WebhookFormat.STANDARD:
        return envelope("webhook.test", _now(), {"webhook": due.line})
    return baidu_text(_NOTHING, due.line, Labels())


def _when(told: DeliveryId, job: JobDocument) -> str:
    """When it happened."""
    if told.kind == Event.JOB_STARTED:
        return job.started_at or _now()
    return job.finished_at or _now()


def _now() -> str:
    return rfc3339(time.time())
