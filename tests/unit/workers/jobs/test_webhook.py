"""What a webhook may be, and what shows its secret: nothing."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from workers.jobs.webhook import DeliveryId, Event, Webhook, WebhookFormat, checked_events, checked_secret, new_secret
from workers.webhooks.sender import signed_headers

JOB = "job_" + "a1" * 16
EVENTS = ["started", "finished", "item-0", "item-99999", "progress-7"]


def encoded(byte_count: int) -> str:
    return "whsec_" + base64.b64encode(bytes(byte_count)).decode()


@pytest.mark.parametrize("secret", [None, encoded(24), encoded(64)], ids=["new", "shortest", "longest"])
def test_secrets(secret: str | None) -> None:
    """24 to 64 bytes."""
    secret = secret or new_secret()  # made here: the workers of a run agree on the names of the tests

    assert checked_secret(secret) == secret


@pytest.mark.parametrize(
    "secret", ["", "whsec_", encoded(23), encoded(65), encoded(32)[6:], "whsec_ä", "whsec_***", "x"]
)
def test_what_is_no_secret(secret: str) -> None:
    """It is refused in words that do not show it."""
    with pytest.raises(ValueError, match="random bytes") as raised:
        checked_secret(secret)
    assert len(secret) < 8 or secret not in str(raised.value)


def test_a_secret_is_not_shown() -> None:
    """Not by repr, and not in a fingerprint, which differs with it all the same."""
    first, second = (Webhook("http://x/", secret=new_secret()) for _ in range(2))

    assert first.secret not in repr(first)
    assert first.secret not in first.identity
    assert first.identity != second.identity


@pytest.mark.parametrize(
    ("written", "events", "expected"),
    [
        (WebhookFormat.STANDARD, None, [Event.JOB_FINISHED]),
        (WebhookFormat.STANDARD, list(Event), list(Event)),
        (WebhookFormat.STANDARD, [Event.JOB_STARTED, Event.JOB_STARTED], [Event.JOB_STARTED]),
        (WebhookFormat.BAIDU, None, [Event.ITEM_FINISHED]),
        (WebhookFormat.BAIDU, [Event.ITEM_FINISHED], [Event.ITEM_FINISHED]),
        (WebhookFormat.BAIDU_BATCH, None, [Event.JOB_FINISHED]),
    ],
)
def test_events(written: WebhookFormat, events: list[Event] | None, expected: list[Event]) -> None:
    """Those that are asked for, once each; by default what the format is for."""
    assert checked_events(events, written) == tuple(expected)


@pytest.mark.parametrize("written", WebhookFormat)
def test_wrong_events(written: WebhookFormat) -> None:
    """None at all, and what a format cannot tell."""
    with pytest.raises(ValueError, match="at least one"):
        checked_events([], written)
    if written != WebhookFormat.STANDARD:
        with pytest.raises(ValueError, match="sends only"):
            checked_events([Event.JOB_STARTED], written)


@pytest.mark.parametrize("event", EVENTS)
def test_ids_go_both_ways(event: str) -> None:
    """A delivery's id names it."""
    delivery = DeliveryId(JOB, 3, event)

    assert DeliveryId.parse(str(delivery)) == delivery
    assert delivery.kind in set(Event)


@pytest.mark.parametrize(
    "text", ["", "msg_1", f"msg_{JOB}_0_started", f"msg_{JOB[4:]}_0_item-", f"msg_{JOB[4:]}_0_x\n"]
)
def test_what_is_no_id(text: str) -> None:
    """Nothing else is taken for one."""
    assert DeliveryId.parse(text) is None


def test_two_secrets_while_they_are_rotated() -> None:
    """The receiver's library accepts either, and no third; without a secret there is no signature."""
    old, new, other = (new_secret() for _ in range(3))
    headers = signed_headers("msg_1", '{"a":"ä"}', [new, old], time.time())

    for secret in (old, new):
        assert Verifier(secret).verify('{"a":"ä"}'.encode(), headers) == {"a": "ä"}
    with pytest.raises(WebhookVerificationError):
        Verifier(other).verify('{"a":"ä"}', headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new).verify('{"a":"a"}', headers)
    assert "webhook-signature" not in signed_headers("msg_1", "{}", [], time.time())
