"""Decide what an endpoint's answer means, and when to try again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Literal

from workers.io.guarded_http import Answer
from workers.jobs.webhook import WebhookFormat

LatencyClass = Literal["quick", "fair", "slow"]
MAX_RETRY_AFTER: Final = 86400.0  # seconds that an endpoint may ask for
_MAX_COOLDOWN: Final = 300.0  # seconds of that for which the destination's other deliveries wait too
_JITTER: Final = 0.1  # up to this share of a pause is added to it
_QUICK, _SLOW = 1.0, 5.0  # seconds: up to the first an answer is quick, beyond the second it is slow


@dataclass(frozen=True)
class Verdict:
    """Outcome of one attempt.

    `why` is the reason of the failure, '' if the event was delivered. `gone` means that the endpoint answered 410 and
    wants no more events.
    """

    why: str = ""
    gone: bool = False
    retry_after: float | None = None  # seconds, as the endpoint asked

    @property
    def delivered(self) -> bool:
        """Return whether the endpoint accepted the event."""
        return not self.why

    @property
    def cooldown(self) -> float:
        """Return for how many seconds the destination's other deliveries wait too."""
        return min(self.retry_after or 0.0, _MAX_COOLDOWN)

    @property
    def word(self) -> str:
        """Return the verdict as scripts/webhooks/delivery_record.lua takes it."""
        return "delivered" if self.delivered else "gone" if self.gone else "failed"


def judge(answer: Answer, webhook_format: WebhookFormat, now: float) -> Verdict:
    """Judge an answer: 2xx accepts the event; with a Baidu format the body may not contain an error code either.

    `now` is in seconds since the epoch.
    """
    if answer.status == HTTPStatus.GONE:
        return Verdict("The endpoint answered 410: it wants no more events.", gone=True)
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        retry_after = _retry_after(answer.headers.get("retry-after", ""), now)
        redirect = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
        return Verdict(f"The endpoint answered {answer.status}{redirect}.", retry_after=retry_after)
    return Verdict() if webhook_format == WebhookFormat.STANDARD else _judge_baidu(answer)


def _judge_baidu(answer: Answer) -> Verdict:
    if not answer.complete:
        return Verdict("The endpoint's answer is too long to look for an error code in it.")
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return Verdict()  # no JSON, so no error code
    if isinstance(body, dict):
        for name in ("errcode", "error_code"):
            if str(body.get(name) or 0) != "0":
                return Verdict(f"The endpoint answered {name} {str(body[name])[:40]}.")
    return Verdict()


def latency_class(seconds: float) -> LatencyClass:
    """Return the latency class of an answer that took so many seconds; a slow destination gets few attempts at once."""
    return "quick" if seconds <= _QUICK else "fair" if seconds <= _SLOW else "slow"


def next_pause(
    pauses: Sequence[float], attempts: int, verdict: Verdict, chance: Callable[[], float] = random.random
) -> float | None:
    """Return the seconds until the next attempt after so many failed ones; None if no attempt is left.

    An endpoint may ask for a later attempt, up to a day, but not for an earlier one. `chance` spreads out attempts that
    failed at the same time.
    """
    if attempts > len(pauses):
        return None
    pause = max(pauses[attempts - 1], min(verdict.retry_after or 0.0, MAX_RETRY_AFTER))
    return pause * (1 + _JITTER * chance())


def _retry_after(text: str, now: float) -> float | None:
    """Return the header Retry-After (RFC 9110: seconds or a date) as seconds from now; None if it is invalid."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_RETRY_AFTER)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
