"""One host that hangs, and what else is to be sent: the sender's threads are shared out by host and by owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.integration.workers.conftest import photo
from workers.jobs.webhook import Webhook
from workers.webhooks.deliveries import Attempt
from workers.webhooks.outbox import DueDelivery, Outbox
from workers.webhooks.verdicts import Verdict

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post

THREADS = 32
HANGING = "https://hanging.example"


@pytest.fixture
def outbox(post: Post) -> Outbox:
    return Outbox(post.link, post.settings)


def due_webhooks(post: Post, count: int, url: Callable[[int], str], owner: str = "") -> None:
    """Make so many webhooks due: each of a job of its own that is over, at `url(number)`."""
    for number in range(count):
        job = post.submit(photo(number), owner=owner, webhook=Webhook(url(number)))
        post.worker.store.cancel(job.id)
        post.worker.runtime.do_duties()


def record(outbox: Outbox, due: DueDelivery, error: str = "") -> None:
    attempt = Attempt(due.message, due.attempts + 1, 0.0, 0.1, None if error else 200, error, "")
    outbox.record(due, attempt, Verdict(error), None)


def test_a_host_that_hangs_gets_few_threads_for_any_number_of_urls(post: Post, outbox: Outbox) -> None:
    """Each job names a URL that nobody named before; what goes to another host goes at once."""
    due_webhooks(post, 20, lambda number: f"{HANGING}/{number}")
    due_webhooks(post, 1, lambda _: "https://healthy.example/hook")

    claimed = outbox.claim(THREADS, THREADS // 2)

    urls = [due.webhook.url for due in claimed]
    assert "https://healthy.example/hook" in urls
    assert len(urls) <= 3


def test_unknown_hosts_leave_half_of_the_threads(post: Post, outbox: Outbox) -> None:
    """A new host with each job, of three owners: each has a quarter, all together half, and a known host the rest."""
    due_webhooks(post, 1, lambda _: "https://known.example/")
    record(outbox, outbox.claim(1, 1)[0])
    for owner in ("a", "b", "c"):
        due_webhooks(post, THREADS // 4 + 2, lambda number: f"https://{number}.example/", owner)

    claimed = outbox.claim(THREADS, THREADS // 2)

    owners = [due.stored["owner"] for due in claimed]
    assert [owners.count(owner) for owner in ("a", "b")] == [THREADS // 4] * 2
    assert len(claimed) == THREADS // 2
    assert all(due.slow for due in claimed)
    due_webhooks(post, 1, lambda _: "https://known.example/again")
    (known,) = outbox.claim(THREADS - len(claimed), 0)
    assert known.webhook.url == "https://known.example/again"

    record(outbox, claimed[0], "did not answer in time")
    assert [due.stored["owner"] for due in _later(post, outbox)] != []


def _later(post: Post, outbox: Outbox) -> list[DueDelivery]:
    """Claim after the moment for which those that wait for a thread were put off."""
    post.link.client.zadd("sl:due:webhooks", dict.fromkeys(post.link.client.zrange("sl:due:webhooks", 0, -1), 0))
    return outbox.claim(1, 1)


def test_a_host_that_only_fails_is_given_up_with_all_that_waits(post: Post, outbox: Outbox) -> None:
    """Otherwise what waits for it would keep its jobs for ever, since one attempt is made at a time."""
    due_webhooks(post, 5, lambda number: f"{HANGING}/{number}")
    (first, second) = outbox.claim(THREADS, THREADS // 2)
    record(outbox, second, "did not answer in time")
    post.link.client.hset(f"sl:line:{first.destination}", "failing_since", 1)  # days ago
    record(outbox, first, "did not answer in time")

    assert outbox.claim(THREADS, THREADS // 2) == []

    jobs = [post.worker.store.get(job_id) for job_id in post.link.client.zrange("sl:jobs", 0, -1)]
    assert all(job.expires_at for job in jobs)
    dropped = [hook.dropped for job in jobs for hook in post.deliveries.hooks(job)]
    assert sum("did not answer in time" in why for why in dropped) == 5
    due_webhooks(post, 1, lambda _: f"{HANGING}/new")
    assert len(outbox.claim(THREADS, THREADS // 2)) == 1  # a new one is tried
