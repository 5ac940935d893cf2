"""One attempt to deliver an event: render the body, sign it, send it, judge the answer, record the attempt."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import structlog
from standardwebhooks import Webhook as Signer

from workers.errors import JobGoneError, OutboundBlockedError, OutboundFailedError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.guarded_http import Answer, Limits, send, webhook_guard
from workers.io.redis_link import RedisLink
from workers.settings import Settings
from workers.telemetry.metrics import DELIVERIES
from workers.webhooks.deliveries import Attempt
from workers.webhooks.outbox import DueDelivery, Outbox
from workers.webhooks.payloads import Renderer
from workers.webhooks.verdicts import Verdict, judge, next_pause

log = structlog.get_logger(__name__)

_MAX_ANSWER_BYTES = 65_536
_SHOWN_BYTES = 500  # of an answer that the owner of the job is shown
_UNEXPECTED = "The event could not be sent; the sender's log says why."


class Sender:
    """Make delivery attempts, any number at once."""

    def __init__(self, link: RedisLink, blobs: BlobStore, outbox: Outbox, settings: Settings) -> None:
        self._link = link
        self._outbox = outbox
        self._renderer = Renderer(link, blobs)
        self._guard = webhook_guard(settings)
        self._limits = Limits(settings.webhook_seconds, _MAX_ANSWER_BYTES, inflate=False)
        self._pauses = settings.webhook_retries

    def attempt(self, due: DueDelivery) -> None:
        """Attempt a delivery, and record what came of it.

        Never raises: an error is recorded as a failed attempt, or logged; then the delivery is made again when its
        lease ends.
        """
        try:
            attempt, verdict = self._send(due)
            pause = next_pause(self._pauses, attempt.attempt, verdict)
            self._outbox.record(due, attempt, verdict, pause)
            DELIVERIES.add("given_up" if verdict.word == "failed" and pause is None else verdict.word)
        except StoreUnavailableError as error:  # then it is delivered again, with the same id
            log.warning("delivery waits", delivery=due.message, error=str(error))
        except Exception:
            log.exception("delivery not recorded", delivery=due.message)

    def _send(self, due: DueDelivery) -> tuple[Attempt, Verdict]:
        began, answer = self._link.now(), None
        sent_at = time.monotonic()
        try:
            body = self._renderer.body(due)
            sent_at = time.monotonic()
            answer = self._post(due, body)
            verdict = judge(answer, due.webhook.format, self._link.now())
        except (OutboundBlockedError, OutboundFailedError, JobGoneError) as error:
            verdict = Verdict(str(error))
        except StoreUnavailableError:
            raise
        except Exception:  # record it as a failed attempt, or the delivery would be leased again for ever
            log.exception("delivery failed", delivery=due.message)
            verdict = Verdict(_UNEXPECTED)
        seconds = round(time.monotonic() - sent_at, 3)
        number, status = due.attempts + 1, answer.status if answer else None
        if verdict.why:
            log.info("webhook not delivered", delivery=due.message, attempt=number, why=verdict.why)
        return Attempt(due.message, number, began, seconds, status, verdict.why, _shown(answer)), verdict

    def _post(self, due: DueDelivery, body: str) -> Answer:
        now = self._link.now()
        headers = signed_headers(due.message, body, due.secrets(now), now) | {"content-type": "application/json"}
        return send(
            "POST", due.webhook.url, guard=self._guard, limits=self._limits, body=body.encode(), headers=headers
        )


def signed_headers(message: str, body: str, secrets: Iterable[str], now: float) -> dict[str, str]:
    """Return the headers of one attempt, with one signature per secret; without secrets there is no signature.

    `now` is in seconds since the epoch.
    """
    at = datetime.fromtimestamp(int(now), UTC)
    headers = {"webhook-id": message, "webhook-timestamp": str(int(now))}
    signatures = [Signer(secret).sign(message, at, body) for secret in secrets]
    if signatures:
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def _shown(answer: Answer | None) -> str:
    """Return the first bytes of an answer as text."""
    return answer.body[:_SHOWN_BYTES].decode("utf-8", "replace") if answer else ""
