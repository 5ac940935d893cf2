"""The routes of registered webhooks: endpoints that are sent the events of every job of their owner."""

from __future__ import annotations

from flask import Blueprint, Response, url_for
from pydantic import Field

from api.access.caller import caller
from api.http.answers import answer
from api.http.links import link_base
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.requests.checking import RequestModel
from api.schema.webhook_documents import TestDocument, WebhookDetails, WebhookDocument, WebhooksDocument
from api.schema.webhook_request import SIGNING, SigningSecret, WebhookFields
from workers.backend import Backend
from workers.errors import OutboundBlockedError, WebhookNotFoundError, WebhookStateError
from workers.jobs.webhook import new_secret
from workers.webhooks.endpoints import Endpoint, unknown_webhook

_PROBLEMS = (WebhookNotFoundError,)
_DAY = 86400.0


class ChangedWebhook(WebhookFields):
    """The new values of an endpoint. Its secret stays; the route rotate changes it."""

    secret: None = Field(default=None, exclude=True, description="Not allowed here: use rotate.")


class Rotation(RequestModel):
    """A new secret for an endpoint."""

    secret: SigningSecret | None = Field(
        default=None,
        description="`whsec_` and base64 of 24 to 64 bytes. Default: a new one.",
        json_schema_extra={"pattern": SIGNING},
    )
    keep_old_seconds: float = Field(
        default=_DAY, ge=0, le=30 * _DAY, description="For how long events are signed with the old secret too."
    )


_WEBHOOK = document_answer(WebhookDocument)


def webhook_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the routes below /v1/webhooks."""
    routes = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")
    endpoints = backend.endpoints

    @routes.post("")
    @api.describe(
        document_answer(WebhookDocument, 201, headers=("Location",)),
        tag="webhooks",
        json=WebhookFields,
        problems=(OutboundBlockedError, WebhookStateError),
    )
    def create(json: WebhookFields) -> Response:
        """Register an endpoint for the events of jobs that you create from now on. Only this answer has its secret."""
        secret = json.webhook.secret or new_secret()
        endpoint = endpoints.create(caller().owner, json.webhook.signed_with(secret))
        response = answer(_document(endpoint, secret), 201)
        response.headers["Location"] = link_base() + url_for("webhooks.show", webhook_id=endpoint.id)
        return response

    @routes.get("")
    @api.describe(document_answer(WebhooksDocument, headers=("ETag",)), tag="webhooks")
    def listed() -> Response:
        """List your endpoints."""
        owner = None if caller().sees_all else caller().owner
        return answer(WebhooksDocument(data=endpoints.all(owner)))

    @routes.get("/<webhook_id>")
    @api.describe(document_answer(WebhookDetails, headers=("ETag",)), tag="webhooks", problems=_PROBLEMS)
    def show(webhook_id: str) -> Response:
        """Show an endpoint with its last delivery attempts."""
        endpoint = _own(backend, webhook_id)
        return answer(WebhookDetails(**_document(endpoint).model_dump(), attempts=endpoints.attempts(endpoint.id)))

    @routes.put("/<webhook_id>")
    @api.describe(_WEBHOOK, tag="webhooks", json=ChangedWebhook, problems=(*_PROBLEMS, OutboundBlockedError))
    def update(webhook_id: str, json: ChangedWebhook) -> Response:
        """Change an endpoint. Events that wait go to the new URL; new events apply to jobs created from now on."""
        return answer(_document(endpoints.update(_own(backend, webhook_id).id, json.webhook)))

    @routes.delete("/<webhook_id>")
    @api.describe(Answer(status=204), tag="webhooks", problems=_PROBLEMS)
    def delete(webhook_id: str) -> Response:
        """Delete an endpoint. Events that wait for it are given up."""
        endpoints.delete(_own(backend, webhook_id).id)
        return Response(status=204)

    @routes.post("/<webhook_id>/rotate")
    @api.describe(_WEBHOOK, tag="webhooks", json=Rotation, problems=_PROBLEMS)
    def rotate(webhook_id: str, json: Rotation) -> Response:
        """Give an endpoint a new secret, which only this answer has. The old one stays valid for a while."""
        secret = json.secret.get_secret_value() if json.secret else new_secret()
        endpoint = endpoints.rotate(_own(backend, webhook_id).id, secret, json.keep_old_seconds)
        return answer(_document(endpoint, secret))

    @routes.post("/<webhook_id>/test")
    @api.describe(document_answer(TestDocument, 202), tag="webhooks", problems=_PROBLEMS)
    def test(webhook_id: str) -> Response:
        """Send an endpoint a test event, even if it is disabled."""
        return answer(TestDocument(delivery=endpoints.test(_own(backend, webhook_id).id)), 202)

    @routes.post("/<webhook_id>/enable")
    @api.describe(_WEBHOOK, tag="webhooks", problems=_PROBLEMS)
    def enable(webhook_id: str) -> Response:
        """Enable an endpoint for the events of jobs created from now on."""
        return answer(_document(endpoints.enable(_own(backend, webhook_id).id)))

    @routes.post("/<webhook_id>/disable")
    @api.describe(_WEBHOOK, tag="webhooks", problems=_PROBLEMS)
    def disable(webhook_id: str) -> Response:
        """Disable an endpoint. Events that wait for it are given up."""
        return answer(_document(endpoints.disable(_own(backend, webhook_id).id)))

    return routes


def _own(backend: Backend, webhook_id: str) -> Endpoint:
    """Return an endpoint of the caller; raises WebhookNotFoundError, the same for a missing and another's endpoint."""
    endpoint = backend.endpoints.get(webhook_id)
    if not caller().sees(endpoint.owner):
        raise unknown_webhook(webhook_id)
    return endpoint


def _document(endpoint: Endpoint, secret: str | None = None) -> WebhookDocument:
    return WebhookDocument.model_validate(endpoint).model_copy(update={"secret": secret})
