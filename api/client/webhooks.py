"""The part of the HTTP client that looks after registered webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from api.client.connection import Connection, problem, read_document
from api.schema.webhook_documents import TestDocument, WebhookDetails, WebhookDocument, WebhooksDocument
from workers.jobs.webhook import Event, WebhookFormat


class Webhooks:
    """The registered webhooks. Every method raises ApiError for what the API refuses, and ConnectionFailedError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[WebhookDocument]:
        """Every one, the oldest first."""
        return read_document(WebhooksDocument, self._connection.call("GET", "/v1/webhooks")).data

    def get(self, webhook_id: str) -> WebhookDetails:
        """One, with its last attempts."""
        return read_document(WebhookDetails, self._connection.call("GET", _path(webhook_id)))

    def create(
        self,
        url: str,
        *,
        events: Sequence[Event] | None = None,
        form: WebhookFormat | None = None,
        secret: str | None = None,
    ) -> WebhookDocument:
        """Register one; the answer has its secret, this once. It is sent once: sent again, it would make another."""
        asked = {"url": url, "events": events, "format": form, "secret": secret}
        given = {name: value for name, value in asked.items() if value is not None}
        response = self._connection.once("POST", "/v1/webhooks", json=given)
        if not response.is_success:
            raise problem(response)
        return read_document(WebhookDocument, response)

    def test(self, webhook_id: str) -> str:
        """Have one sent an event that tells of nothing; returns the id of the delivery."""
        return read_document(TestDocument, self._connection.call("POST", _path(webhook_id, "/test"))).delivery

    def delete(self, webhook_id: str) -> None:
        """Delete one; what waits for it is given up."""
        self._connection.call("DELETE", _path(webhook_id))


def _path(webhook_id: str, more: str = "") -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}{more}"
