"""What a receiver gets of a job, signed, once it is so and not before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from tests.integration.workers.conftest import photo
from tests.integration.workers.webhooks.conftest import BASE, verified
from tests.support.polling import wait_until
from workers.errors import ImageDecodeError
from workers.io.guarded_http import Guard
from workers.jobs.job import new_id
from workers.jobs.result import failed
from workers.jobs.webhook import Event, WebhookFormat

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post

ALL = tuple(Event)


def test_every_event_of_a_job(post: Post) -> None:
    """Started, each image, finished: each once, signed as the reference library verifies it, with links."""
    job = post.submit(photo(1), b"no image", photo(2), webhook=post.hook("ok/all", *ALL))
    post.sending()
    assert post.receiver.came("ok/all") == []  # nothing is so yet
    post.finish(job)

    events = [verified(request) for request in post.receiver.came("ok/all")]
    kinds = [event["type"] for event in events if event["type"] != "job.progress"]
    assert sorted(kinds) == ["item.finished"] * 3 + ["job.finished", "job.started"]
    items = sorted(
        (event["data"] for event in events if event["type"] == "item.finished"), key=lambda data: data["index"]
    )
    results = post.worker.results(job)
    for item, result in zip(items, results, strict=True):
        assert item.items() >= result.items()
        assert item["urls"]["item"] == f"{BASE}v1/jobs/{job.id}/items/{result['index']}"
    (end,) = [event["data"] for event in events if event["type"] == "job.finished"]
    assert (end["id"], end["state"], end["counts"]["failed"]) == (job.id, "partial", 1)
    assert len(set(post.receiver.ids("ok/all"))) == len(events)


def test_a_retried_delivery_keeps_its_id(post: Post) -> None:
    """Each attempt has the same webhook-id, and is signed for its own time."""
    job = post.submit(photo(1), webhook=post.hook("flaky/2/kept"))
    post.sending()
    post.finish(job)

    came = post.receiver.came("flaky/2/kept")
    assert len(came) == 3
    assert {request["headers"]["webhook-id"] for request in came} == {f"msg_{job.id[4:]}_0_finished"}
    assert [verified(request)["data"]["state"] for request in came] == ["succeeded"] * 3
    (event,) = post.deliveries.events(post.worker.store.get(job.id))
    assert [(attempt.attempt, attempt.status, attempt.answer) for attempt in event.attempts] == [
        (3, 200, ""),
        (2, 503, ""),
        (1, 503, ""),
    ]
    assert event.state == "delivered"


@pytest.mark.parametrize(
    ("path", "more", "why"),
    [
        ("status/404", {}, "404"),
        ("redirect", {}, "redirect, which is not followed"),
        ("hang", {}, "did not answer in time"),
        ("drip", {}, "did not answer in time"),
        ("body/%7B%22errcode%22%3A7%7D", {"format": WebhookFormat.BAIDU_BATCH}, "errcode 7"),
        ("body/%7B%22error_code%22%3A%222%22%7D", {"format": WebhookFormat.BAIDU_BATCH}, "error_code 2"),
        ("huge", {"format": WebhookFormat.BAIDU_BATCH}, "too long"),
    ],
)
def test_what_is_no_delivery(make_post: Callable[..., Post], path: str, more: dict[str, Any], why: str) -> None:
    """It is tried as often as the settings say, then given up, and the job's owner sees each attempt."""
    post = make_post(webhook_seconds=0.7, webhook_retries=(0.05,))
    where = f"{path}/{new_id('x')}"
    job = post.submit(photo(1), webhook=post.hook(where, **more))
    post.sending()
    post.finish(job)

    assert len(set(post.receiver.ids(unquote(where)) or post.receiver.ids(where))) == 1
    (event,) = post.deliveries.events(post.worker.store.get(job.id))
    assert (event.state, [attempt.attempt for attempt in event.attempts]) == ("failed", [2, 1])
    assert why in event.attempts[0].error
    assert all(attempt.seconds < 5 for attempt in event.attempts)
    assert post.receiver.came("ok/redirected") == []
    (hook,) = post.deliveries.hooks(post.worker.store.get(job.id))
    assert (hook.delivered, hook.failed, hook.ended) == (0, 1, True)


@pytest.mark.parametrize("path", ["ok", "status/204", "huge", "bomb", "body/%7B%22errcode%22%3A0%7D"])
def test_what_is_a_delivery(post: Post, path: str) -> None:
    """2xx is, whatever comes behind it: of the body 64 kB are read, and nothing is inflated."""
    job = post.submit(photo(1), webhook=post.hook(f"{path}/{new_id('x')}"))
    post.sending()
    post.finish(job)

    (event,) = post.deliveries.events(post.worker.store.get(job.id))
    assert (event.state, len(event.attempts)) == ("delivered", 1)


def test_an_address_that_is_not_allowed(make_post: Callable[..., Post], monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard judges each attempt, as if the host led elsewhere when the job came: nothing reaches the receiver."""
    monkeypatch.setattr(Guard, "check", lambda _guard, _url: None)
    post = make_post(webhook_private_hosts=frozenset())
    job = post.submit(photo(1), webhook=post.hook("ok/forbidden"))
    post.sending()
    post.finish(job)

    (event,) = post.deliveries.events(post.worker.store.get(job.id))
    assert {attempt.error for attempt in event.attempts} == {event.attempts[0].error}
    assert "not allowed" in event.attempts[0].error
    assert post.receiver.came("ok/forbidden") == []


def test_a_receiver_that_is_gone_is_asked_no_more(post: Post) -> None:
    """410 ends the job's webhook at once, with what was still to come."""
    job = post.submit(*map(photo, range(6)), webhook=post.hook("status/410/gone", Event.ITEM_FINISHED))
    post.sending()
    post.finish(job)

    (hook,) = post.deliveries.hooks(post.worker.store.get(job.id))
    assert "410" in hook.dropped
    assert len(post.receiver.came("status/410/gone")) <= 2  # as many as go at once to a new receiver


def test_the_robots_bodies(post: Post) -> None:
    """One POST an image, as documented; the headers are there too, and a failed image has Baidu's code."""
    hook = post.hook("ok/baidu", Event.ITEM_FINISHED, format=WebhookFormat.BAIDU)
    job = post.submit(photo(1), b"no image", webhook=hook)
    post.sending()
    post.finish(job)

    bodies = {body["requestId"]: body for body in map(verified, post.receiver.came("ok/baidu"))}
    good, bad = bodies[f"{job.id}/0"], bodies[f"{job.id}/1"]
    assert list(good) == ["requestId", "result", "resultNum", "filterThreshold", "extInfos"]
    assert good["resultNum"] == len(good["result"])
    assert bad["error_code"] == 216201


def test_the_robots_bodies_in_one(post: Post) -> None:
    """All images of the job in one POST, in input order."""
    job = post.submit(photo(1), b"no image", photo(2), webhook=post.hook("ok/batch", format=WebhookFormat.BAIDU_BATCH))
    post.sending()
    post.finish(job)

    (body,) = map(verified, post.receiver.came("ok/batch"))
    assert [result["requestId"] for result in body["results"]] == [f"{job.id}/{index}" for index in range(3)]
    assert (body["requestId"], body["resultNum"], body["extInfos"]) == (job.id, 3, {})


def test_progress_is_told_every_five_seconds_at_most(post: Post) -> None:
    """However often images are done; what comes is newer each time, and nothing once the job is over."""
    job = post.submit(*map(photo, range(20)), webhook=post.hook("ok/progress", Event.JOB_PROGRESS))
    post.sending()
    for _ in range(3):
        for delivery in post.queue.claim("default", 2).images:
            post.worker.store.settle([failed(delivery, ImageDecodeError("x"))], 0.1)
            wait_until(lambda: post.receiver.came("ok/progress"))
    came = post.receiver.came("ok/progress")
    assert len(came) == 1
    post.link.client.hset(f"sl:job:{job.id}:hook:0", "progress_at", 0)  # five seconds later
    delivery = post.queue.claim("default", 1).images[0]
    post.worker.store.settle([failed(delivery, ImageDecodeError("x"))], 0.1)
    wait_until(lambda: len(post.receiver.came("ok/progress")) == 2)
    first, second = (verified(request)["data"]["counts"]["failed"] for request in post.receiver.came("ok/progress"))
    assert first < second == 7
    post.finish(job)
    assert len(post.receiver.came("ok/progress")) == 2


def test_a_canceled_job(post: Post) -> None:
    """Each image that was given up is told, then the end: canceled. It never started, so that is not told."""
    job = post.submit(*map(photo, range(3)), webhook=post.hook("ok/canceled", *ALL))
    post.worker.store.cancel(job.id)
    post.sending()
    post.finish(job)

    events = [verified(request) for request in post.receiver.came("ok/canceled")]
    assert sorted(event["type"] for event in events) == ["item.finished"] * 3 + ["job.finished"]
    assert {event["data"]["state"] for event in events} == {"canceled"}


@pytest.mark.usefixtures("small_segments")
def test_many_images_are_a_cursor(make_post: Callable[..., Post]) -> None:
    """Images to be told are one row of the outbox, however many; sealed results are found too."""
    post = make_post(batch_rows=16)
    job = post.submit(*[b"no image"] * 60, webhook=post.hook("ok/many", Event.ITEM_FINISHED))
    post.work(job)
    line = post.hook("ok/many").line("")
    assert post.link.client.zcard(f"sl:line:{line}:todo") == 1
    post.sending()
    post.finish(job)
    indexes = [json.loads(request["body"])["data"]["index"] for request in post.receiver.came("ok/many")]
    assert sorted(indexes) == list(range(60))
