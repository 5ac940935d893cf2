"""The routes of deliveries: show the deliveries of a job, and deliver an event again."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response
from pydantic import Field

from api.access.caller import own_job
from api.http.answers import answer
from api.openapi.common_problems import OF_A_JOB
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.schema.webhook_documents import AttemptDocument
from workers.backend import Backend
from workers.errors import DeliveryNotFoundError, JobGoneError, JobNotFoundError, WebhookStateError
from workers.jobs.document import Document, Timestamp
from workers.jobs.webhook import DeliveryId, Event, WebhookFormat
from workers.webhooks.deliveries import JobHook, unknown_delivery


class DeliveryDocument(Document):
    """One event to one webhook of the job."""

    id: str = Field(description="The `webhook-id`, the same in every attempt.")
    object: Literal["delivery"] = "delivery"
    webhook: int = Field(description="The number of the webhook among those of the job.")
    event: Event
    state: Literal["delivered", "waiting", "failed"]
    next_attempt_at: Timestamp | None
    attempts: list[AttemptDocument] = Field(description="Newest first; only the last 200 of a job are stored.")


class JobWebhookDocument(Document):
    """One webhook of the job: a registered one, or the job's own, which has no `id`."""

    id: str | None
    url: str = Field(description="Without its query string.")
    events: list[Event]
    format: WebhookFormat
    delivered: int
    failed: int = Field(description="The number of events that were given up after their last attempt.")
    ended: bool = Field(description="Whether no more events will be sent.")
    reason: str | None = Field(description="Why the webhook ended before all events were sent.")


class DeliveriesDocument(Document):
    """The webhooks of a job, and its events, those that were attempted last first."""

    object: Literal["list"] = "list"
    webhooks: list[JobWebhookDocument]
    data: list[DeliveryDocument]


def delivery_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the routes of deliveries."""
    routes = Blueprint("deliveries", __name__, url_prefix="/v1")

    @routes.get("/jobs/<job_id>/deliveries")
    @api.describe(document_answer(DeliveriesDocument, headers=("ETag",)), tag="deliveries", problems=OF_A_JOB)
    def listed(job_id: str) -> Response:
        """Show the deliveries of a job: each attempt with its status, its duration and the answer."""
        job = own_job(backend, job_id)
        return answer(
            DeliveriesDocument(
                webhooks=[_webhook(hook) for hook in backend.deliveries.hooks(job)],
                data=backend.deliveries.events(job),
            )
        )

    @routes.post("/deliveries/<delivery_id>/redeliver")
    @api.describe(Answer(status=202), tag="deliveries", problems=(DeliveryNotFoundError, WebhookStateError))
    def redeliver(delivery_id: str) -> Response:
        """Deliver an event again, now, with a new schedule of attempts. Its job is kept until the delivery ends."""
        delivery = DeliveryId.parse(delivery_id)
        if delivery is None:
            raise unknown_delivery(delivery_id)
        try:
            own_job(backend, delivery.job)
        except (JobNotFoundError, JobGoneError) as error:
            raise unknown_delivery(delivery_id) from error
        backend.deliveries.again(delivery)
        return Response(status=202)

    return routes


def _webhook(hook: JobHook) -> JobWebhookDocument:
    return JobWebhookDocument(
        id=hook.endpoint or None,
        url=hook.webhook.url.partition("?")[0],
        events=list(hook.webhook.events),
        format=hook.webhook.format,
        delivered=hook.delivered,
        failed=hook.failed,
        ended=hook.ended,
        reason=hook.dropped or None,
    )
