"""Bodies of webhooks as JSON: the job or the result as the API shows it, bounded in size, with links to the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from workers.errors import JobGoneError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.document import JobDocument, job_document, rfc3339, urls_at
from workers.jobs.job import Job
from workers.jobs.result import compact_json
from workers.jobs.webhook import Event, WebhookFormat
from workers.results.baidu import baidu_body, request_id_of
from workers.results.labels import Labels
from workers.store.capacity import Capacity
from workers.store.catalog import Catalog
from workers.store.result_segments import Segments
from workers.webhooks.outbox import DueDelivery

MAX_BYTES: Final = 20_000
MAX_BATCH_BYTES: Final = 1_000_000  # for a body with all results of a job
_ENVELOPE_BYTES: Final = 500  # at most
_TEST_RESULT: Mapping[str, Any] = {"state": "succeeded", "detections": [], "custom_id": "test"}


class Renderer:
    """Make the bodies of deliveries."""

    def __init__(self, link: RedisLink, blobs: BlobStore) -> None:
        self._link = link
        self._segments = Segments(link, blobs)
        self._capacity = Capacity(link)
        self._catalog = Catalog(link)

    def body(self, due: DueDelivery) -> str:
        """Return the body of a delivery.

        Raises StoreUnavailableError, and JobGoneError if the job was deleted meanwhile.
        """
        delivery, webhook_format = due.id, due.webhook.format
        if delivery is None:
            return _test_body(due, rfc3339(self._link.now()))
        job = due.job
        document = job_document(job, urls_at(due.stored["base_url"], job.id), self._capacity.estimate(job))
        if webhook_format == WebhookFormat.BAIDU_BATCH:
            return baidu_batch_text(self._results(job, 0, job.total), document, self._labels(job))
        if delivery.kind == Event.ITEM_FINISHED:
            result = next(self._results(job, delivery.number, delivery.number + 1), None)
            if result is None:
                raise JobGoneError(f"The result {delivery.number} of {job.id} was deleted.")
            if webhook_format == WebhookFormat.BAIDU:
                return baidu_text(result, job.id, self._labels(job))
            return envelope(delivery.kind, rfc3339(self._link.now()), item_data(result, document))
        happened_at = document.started_at if delivery.kind == Event.JOB_STARTED else document.finished_at
        return envelope(delivery.kind, happened_at or rfc3339(self._link.now()), job_data(document))

    def _results(self, job: Job, start: int, end: int) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._segments.read(job.id, start, end, job.total))

    def _labels(self, job: Job) -> Labels:
        contracts = self._catalog.contracts(job.options.model, job.model_versions)
        return Labels(contracts, job.options.min_score)


def _test_body(due: DueDelivery, now: str) -> str:
    if due.webhook.format == WebhookFormat.STANDARD:
        return envelope("webhook.test", now, {"webhook": due.destination})
    return baidu_text(_TEST_RESULT, due.destination, Labels())


def envelope(kind: str, timestamp: str, data: Mapping[str, Any]) -> str:
    """Return a payload in the form that Standard Webhooks recommends."""
    return compact_json({"type": kind, "timestamp": timestamp, "data": data})


def job_data(job: JobDocument) -> dict[str, Any]:
    """Return a job's document; if its metadata is too large, without it and with `metadata_left_out`."""
    data: dict[str, Any] = job.model_dump(mode="json")
    if _size(data) > MAX_BYTES - _ENVELOPE_BYTES:
        data |= {"metadata": {}, "metadata_left_out": True}
    return data


def item_data(result: Mapping[str, Any], job: JobDocument) -> dict[str, Any]:
    """Return an image's result with its job and links; `detections_left_out` counts those that did not fit."""
    item = f"{job.urls.self}/items/{result['index']}"
    urls = {"item": item, "annotated": f"{item}/annotated", "job": job.urls.self, "results": job.urls.results}
    data = {**result, "job": job.id, "urls": urls}
    detections = data.get("detections", [])
    fitting = _fitting(detections, {**data, "detections": []})
    if len(fitting) < len(detections):
        data |= {"detections": fitting, "detections_left_out": len(detections) - len(fitting)}
    return data


def baidu_text(result: Mapping[str, Any], job: str, labels: Labels) -> str:
    """Return the Baidu body for one image, with as many of its best detections as fit."""
    body = _baidu(result, job, labels)
    if "result" in body:
        fitting = _fitting(body["result"], {**body, "result": []})
        body |= {"result": fitting, "resultNum": len(fitting)}
    return compact_json(body)


def baidu_batch_text(results: Iterable[Mapping[str, Any]], job: JobDocument, labels: Labels) -> str:
    """Return the Baidu bodies of a job's images in input order; if not all of them fit, with a link to the rest."""
    bodies: list[dict[str, Any]] = []
    size = _ENVELOPE_BYTES
    for result in results:
        body = _baidu(result, job.id, labels)
        size += _size(body) + 1
        if size > MAX_BATCH_BYTES:
            break
        bodies.append(body)
    left_out = (job.counts.total or 0) - len(bodies)
    rest = {"left_out": left_out, "results": f"{job.urls.results}?format=baidu"} if left_out else {}
    return compact_json({"requestId": job.id, "results": bodies, "resultNum": len(bodies), "extInfos": rest})


def _baidu(result: Mapping[str, Any], job: str, labels: Labels) -> dict[str, Any]:
    return baidu_body(result, request_id_of(result, job), labels)


def _fitting(detections: list[Any], rest: Mapping[str, Any]) -> list[Any]:
    """Return as many of the first detections as fit into a body beside the `rest` of it."""
    room = MAX_BYTES - _ENVELOPE_BYTES - _size(rest)
    fitting = []
    for detection in detections:
        room -= _size(detection) + 1
        if room < 0:
            break
        fitting.append(detection)
    return fitting


def _size(data: object) -> int:
    return len(compact_json(data).encode())
