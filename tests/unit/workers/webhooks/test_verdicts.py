"""What an answer means, and when the next attempt is."""

from __future__ import annotations

import pytest

from workers.io.guarded_http import Answer
from workers.jobs.webhook import WebhookFormat
from workers.settings import Settings
from workers.webhooks.verdicts import MAX_RETRY_AFTER, Verdict, judge, latency_class, next_pause

PAUSES = Settings().webhook_retries
HTTP_DATE = "Thu, 01 Jan 1970 00:02:00 GMT"


def answer(status: int, body: bytes = b"", *, complete: bool = True, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body, complete, "http://x.example/")


@pytest.mark.parametrize("status", range(200, 600))
def test_every_status(status: int) -> None:
    """2xx is a delivery, 410 the end, everything else a failure that names the status."""
    verdict = judge(answer(status), WebhookFormat.STANDARD, 0.0)

    assert verdict.word == ("delivered" if status < 300 else "gone" if status == 410 else "failed")
    assert verdict.delivered or str(status) in verdict.why


@pytest.mark.parametrize(
    ("body", "delivered"),
    [
        (b"", True),
        (b"ok", True),
        (b"[1]", True),
        (b"7", True),
        (b"\xff\xfe", True),
        (b"[" * 20_000, True),
        (b"{}", True),
        (b'{"errcode": 0}', True),
        (b'{"errcode": "0"}', True),
        (b'{"error_code": null}', True),
        (b'{"errcode": 3}', False),
        (b'{"errcode": "3"}', False),
        (b'{"error_code": -1}', False),
        (b'{"errcode": 0, "error_code": 18}', False),
    ],
)
def test_the_body_counts_for_the_robot(body: bytes, *, delivered: bool) -> None:
    """A non-zero error code in it is a failure, in the Baidu formats only."""
    assert judge(answer(200, body), WebhookFormat.BAIDU, 0.0).delivered is delivered
    assert judge(answer(200, body), WebhookFormat.BAIDU_BATCH, 0.0).delivered is delivered
    assert judge(answer(200, body), WebhookFormat.STANDARD, 0.0).delivered


def test_a_body_that_was_not_read_whole() -> None:
    """An error code may be in the rest of it."""
    assert not judge(answer(200, b"{", complete=False), WebhookFormat.BAIDU, 0.0).delivered
    assert judge(answer(200, b"{", complete=False), WebhookFormat.STANDARD, 0.0).delivered


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        (HTTP_DATE, 60.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("9" * 30, MAX_RETRY_AFTER),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds or a date; what is neither says nothing."""
    verdict = judge(answer(503, retry_after=header), WebhookFormat.STANDARD, 60.0)

    assert verdict.retry_after == seconds


def test_the_schedule() -> None:
    """5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h after each failure; the tenth is the last."""
    failed = Verdict("no")
    pauses = [next_pause(PAUSES, attempts, failed, chance=lambda: 0.0) for attempts in range(1, 11)]

    assert pauses == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]
    assert next_pause(PAUSES, 2, failed, chance=lambda: 1.0) == pytest.approx(330)


def test_an_endpoint_may_ask_for_later_but_not_for_sooner() -> None:
    """And not for later than a day."""

    def pause(retry_after: float) -> float | None:
        return next_pause(PAUSES, 2, Verdict("no", retry_after=retry_after), chance=lambda: 0.0)

    assert (pause(1), pause(1000), pause(10**9)) == (300, 1000, MAX_RETRY_AFTER)


def test_pace() -> None:
    """Up to a second is quick, more than five are slow."""
    assert [latency_class(seconds) for seconds in (0.0, 1.0, 1.1, 5.0, 5.1)] == [
        "quick",
        "quick",
        "fair",
        "fair",
        "slow",
    ]
