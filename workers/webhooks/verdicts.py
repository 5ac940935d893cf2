"""What an answer to a webhook means, and when to try again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Literal

from workers.io.guarded_http import Answer
from workers.jobs.webhook import WebhookFormat

Pace = Literal["quick", "fair", "slow"]
MOST_RETRY_AFTER: Final = 86400.0  # seconds that an endpoint may ask for
MOST_REST: Final = 300.0  # seconds of these that its other deliveries wait as well
_JITTER: Final = 0.1  # of a pause, on top of it
_QUICK, _SLOW = 1.0, 5.0  # seconds


@dataclass(frozen=True)
class Verdict:
    """`why` is empty where the event was delivered; `gone` says that the endpoint wants nothing any more."""

    why: str = ""
    gone: bool = False
    retry_after: float | None = None  # seconds, as the endpoint asked

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took the event."""
        return not self.why

    @property
    def word(self) -> str:
        """As scripts/webhooks/delivery_record.lua has it."""
        return "delivered" if self.delivered else "gone" if self.gone else "failed"


def judge(answer: Answer, written: WebhookFormat, now: Callable[[], float] = time.time) -> Verdict:
    """Whether an endpoint took an event: 2xx, and to the Baidu formats no error in the body."""
    if answer.status == HTTPStatus.GONE:
        return Verdict("The endpoint answered 410: it wants no more events.", gone=True)
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        asked = _retry_after(answer.headers.get("retry-after", ""), now)
        redirect = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
        return Verdict(f"The endpoint answered {answer.status}{redirect}.", retry_after=asked)
    return Verdict() if written == WebhookFormat.STANDARD else _judge_baidu(answer)


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


def pace_of(seconds: float) -> Pace:
    """How an endpoint that answered after so long is treated: a slow one has few deliveries under way."""
    return "quick" if seconds <= _QUICK else "fair" if seconds <= _SLOW else "slow"


def next_pause(
    pauses: Sequence[float], attempts: int, verdict: Verdict, chance: Callable[[], float] = random.random
) -> float | None:
    """Seconds from the failure after so many attempts to the next one; None where that was the last.

    An endpoint may ask for a later one, within bounds, never for a sooner one. The chance spreads those that failed
    together.
    """
    if attempts > len(pauses):
        return None
    pause = max(pauses[attempts - 1], min(verdict.retry_after or 0.0, MOST_RETRY_AFTER))
    return pause * (1 + _JITTER * chance())


def _retry_after(text: str, now: Callable[[], float]) -> float | None:
    """The header Retry-After, seconds or a date (RFC 9110), as seconds from now; None where it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MOST_RETRY_AFTER)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except (ValueError, OverflowError):
        return None
