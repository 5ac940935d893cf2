"""The part of the Python client for registered webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from api.client.connection import Connection, problem, read_document
from api.schema.webhook_documents import TestDocument, WebhookDetails, WebhookDocument, WebhooksDocument
from workers.jobs.webhook import Event, WebhookFormat


class Webhooks:
    """The registered webhooks.

    Every method raises ApiError if the API answers with an error, or ConnectionFailedError if it cannot be reached.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[WebhookDocument]:
        """Return all webhooks, the oldest first."""
        return read_document(WebhooksDocument, self._connection.call("GET", "/v1/webhooks")).data

    def get(self, webhook_id: str) -> WebhookDetails:
        """Return a webhook with its last delivery attempts."""
        return read_document(WebhookDetails, self._connection.call("GET", _path(webhook_id)))

    def create(
        self,
        url: str,
        *,
        events: Sequence[Event] | None = None,
        form: WebhookFormat | None = None,
        secret: str | None = None,
    ) -> WebhookDocument:
        """Register a webhook; only this response contains its secret.

        The request is never sent again, because a second one would register a second webhook.
        """
        fields = {"url": url, "events": events, "format": form, "secret": secret}
        body = {name: value for name, value in fields.items() if value is not None}
        response = self._connection.once("POST", "/v1/webhooks", json=body)
        if not response.is_success:
            raise problem(response)
        return read_document(WebhookDocument, response)

    def test(self, webhook_id: str) -> str:
        """Have a test event sent to a webhook, and return the id of the delivery."""
        return read_document(TestDocument, self._connection.call("POST", _path(webhook_id, "/test"))).delivery

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook; deliveries that wait for it are given up."""
        self._connection.call("DELETE", _path(webhook_id))


def _path(webhook_id: str, rest: str = "") -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}{rest}"
