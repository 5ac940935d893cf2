"""The outbox: nothing is lost or told early whoever dies when, and a job is kept until its webhooks were told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.workers.conftest import photo
from tests.integration.workers.mortal import Mortal, StoppedError
from tests.integration.workers.webhooks.conftest import ROOT, SECRET, verified
from tests.support.polling import wait_until
from workers.errors import JobGoneError
from workers.io.redis_link import RedisLink
from workers.jobs.webhook import Event, new_secret
from workers.webhooks.outbox import Outbox
from workers.webhooks.sender import Sender

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post

EVENTS = (Event.JOB_STARTED, Event.ITEM_FINISHED, Event.JOB_FINISHED)


@pytest.fixture
def sender_process(post: Post, tmp_path: Path) -> Any:
    """Starts the sender as it runs in production."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        settings = post.settings
        environment = os.environ | {
            "REDIS_URL": settings.redis_url,
            "BLOB_URL": settings.blob_url,
            "SHELFLINE_LEASE_SECONDS": str(settings.lease_seconds),
            "SHELFLINE_WEBHOOK_SECONDS": str(settings.webhook_seconds),
            "SHELFLINE_WEBHOOK_PRIVATE_HOSTS": ",".join(settings.webhook_private_hosts),
            "SHELFLINE_WEBHOOK_RETRIES": ",".join(map(str, settings.webhook_retries)),
        }
        command = [sys.executable, "-m", "celery", "--quiet", "--app", "workers.webhooks.main:app", "worker"]
        command += ["--queues", "webhooks", "--pool", "threads", "--concurrency", "1", "--without-gossip"]
        with (tmp_path / "sender.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [*command, "--without-mingle", "--without-heartbeat"],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.process
def test_a_sender_that_is_killed(post: Post, sender_process: Callable[[], subprocess.Popen[bytes]]) -> None:
    """Between the POST and its record: the next sender delivers again, with the same id. SIGTERM ends it in time."""
    job = post.submit(photo(1), webhook=post.hook("slow/0.6/killed"))
    post.work(job)
    first = sender_process()
    wait_until(lambda: post.receiver.came("slow/0.6/killed"), what="the first POST")
    os.killpg(first.pid, signal.SIGKILL)
    assert not post.deliveries_ended(job)

    second = sender_process()
    wait_until(lambda: post.deliveries_ended(job), what="the end of the deliveries")
    ids = post.receiver.ids("slow/0.6/killed")
    assert (len(ids), len(set(ids))) == (2, 1)
    assert [verified(request)["type"] for request in post.receiver.came("slow/0.6/killed")] == ["job.finished"] * 2
    second.send_signal(signal.SIGTERM)
    assert second.wait(180) == 0


@pytest.mark.parametrize(("path", "events"), [("ok/step", EVENTS), ("flaky/1", (Event.JOB_FINISHED,))])
def test_a_sender_that_stops_after_any_command(make_post: Callable[..., Post], path: str, events: Any) -> None:
    """Each in turn: another tells what is left, at least once and with the same ids, and the job's retention begins."""
    post = make_post(lease_seconds=0.5, webhook_seconds=0.3, webhook_retries=(0.001, 0.001))
    life, stopped = 0, True
    while stopped:
        where = f"{path}/{life}/"
        job = post.submit(photo(1), webhook=post.hook(where, *events))
        post.work(job)
        link = RedisLink(post.settings.redis_url)
        mortal = Mortal(link, life)
        attempt_all(post, link)
        stopped = mortal.stopped
        link.close()
        other = post.sender()

        def all_sent(other: Any = other, job: Any = job) -> bool:
            other.run()
            return post.deliveries_ended(job)

        wait_until(all_sent, what="the end of the deliveries")
        names = ("started", "item-0", "finished") if len(events) > 1 else ("finished",)
        assert set(post.receiver.ids(where)) == {f"msg_{job.id[4:]}_0_{name}" for name in names}
        (hook,) = post.deliveries.hooks(post.worker.store.get(job.id))
        assert (hook.delivered, hook.failed, hook.ended) == (len(names), 0, True)
        client = post.link.client
        line = post.hook(where).line("")
        assert client.zcard(f"sl:line:{line}:todo") == client.zcard(f"sl:line:{line}:leased") == 0
        assert client.zscore("sl:due:webhooks", line) is None
        life += 1
    assert life >= 5  # it was a whole life


def attempt_all(post: Post, link: RedisLink) -> None:
    """A sender in one thread, until nothing is due or the process is stopped."""
    outbox = Outbox(link, post.settings)
    sender = Sender(link, post.worker.blobs, outbox, post.settings)
    try:
        for _ in range(200):
            for due in outbox.claim(4, 4):
                sender.attempt(due)
            if post.link.client.zcard("sl:due:webhooks") == 0:
                return
    except StoppedError:
        return


def test_a_job_is_kept_until_its_deliveries_end(make_post: Callable[..., Post]) -> None:
    """Its retention begins then, however short it is; without webhooks it begins with the end."""
    post = make_post(retention_seconds=0.05, webhook_retries=(0.05,), webhook_seconds=0.5)
    job = post.submit(photo(1), webhook=post.hook("status/500/kept"))
    post.work(job)
    post.worker.runtime.do_duties()
    assert post.worker.store.get(job.id).expires_at is None
    other = post.submit(photo(1))
    assert_gone(post, other.id)
    assert post.worker.store.get(job.id).state.terminal  # it is still there

    post.sending()
    assert_gone(post, job.id)
    assert post.link.client.keys(f"sl:job:{job.id}*") == []


def assert_gone(post: Post, job: str) -> None:
    def gone() -> bool:
        post.worker.detect()
        try:
            post.worker.store.get(job)
        except JobGoneError:
            return True
        return False

    wait_until(gone, what="the job's deletion")


def test_a_job_that_is_deleted_in_between(post: Post) -> None:
    """What is under way comes to nothing, what waits is forgotten."""
    job = post.submit(*map(photo, range(4)), webhook=post.hook("slow/0.5/deleted", *EVENTS))
    post.work(job)
    post.sending()
    wait_until(lambda: post.receiver.came("slow/0.5/deleted"))
    post.worker.store.delete(job.id)

    wait_until(lambda: post.link.client.zcard("sl:due:webhooks") == 0, what="an empty outbox")
    assert len(post.receiver.came("slow/0.5/deleted")) < 6
    assert post.link.client.keys(f"sl:job:{job.id}*") == []


@pytest.mark.parametrize("change", ["disable", "delete"])
def test_an_endpoint_that_goes_in_between(make_post: Callable[..., Post], change: str) -> None:
    """What waits for it, its retries too, is given up; the job that waited for that is let go."""
    post = make_post(webhook_retries=(3600,))
    endpoint = post.endpoints.create("o", post.hook(f"status/500/{change}", *EVENTS))
    job = post.submit(photo(1), owner="o")
    post.work(job)
    post.sending()
    wait_until(lambda: post.receiver.came(f"status/500/{change}"))
    wait_until(lambda: post.deliveries.events(job))
    assert not post.deliveries_ended(job)
    getattr(post.endpoints, change)(endpoint.id)

    wait_until(lambda: post.deliveries_ended(job), what="the job's retention")
    (hook,) = post.deliveries.hooks(post.worker.store.get(job.id))
    assert hook.dropped
    wait_until(lambda: post.link.client.zcard("sl:due:webhooks") == 0, what="an empty outbox")


def test_an_endpoint_that_only_fails_is_disabled(make_post: Callable[..., Post]) -> None:
    """After so long, and its owner sees why; enabled again it is told of the next job. One success starts it anew."""
    post = make_post(webhook_disable_seconds=0.3, webhook_retries=(0.1,) * 9)
    endpoint = post.endpoints.create("o", post.hook("status/503/days", *EVENTS))
    post.submit(photo(1), owner="o")
    job = post.submit(photo(1), owner="o")
    post.work(job)
    post.link.client.hset(f"sl:line:{endpoint.id}", mapping={"failing_since": 1, "failures": 1})  # days ago
    post.sending()
    wait_until(lambda: post.endpoints.get(endpoint.id).state == "disabled", what="the end of patience")
    assert "503" in post.endpoints.get(endpoint.id).reason
    wait_until(lambda: post.deliveries_ended(job), what="the job's retention")
    assert post.endpoints.attempts(endpoint.id)[0].status == 503

    post.endpoints.update(endpoint.id, post.hook("ok/days", Event.JOB_FINISHED))
    post.endpoints.enable(endpoint.id)
    post.finish(post.submit(photo(1), owner="o"))
    assert len(post.receiver.came("ok/days")) == 1
    assert post.endpoints.get(endpoint.id).failing_since is None


def test_a_registered_endpoint_that_is_gone(post: Post) -> None:
    """410 disables it, not only for the job."""
    endpoint = post.endpoints.create("o", post.hook("status/410/registered"))
    post.finish_by(post.submit(photo(1), owner="o"))

    assert "410" in post.endpoints.get(endpoint.id).reason


def test_signatures_while_a_secret_is_rotated(post: Post) -> None:
    """The receiver may know the old secret or the new one; when the old one's time is over, the new one only."""
    endpoint = post.endpoints.create("o", post.hook("ok/rotated"))
    secret = new_secret()
    post.endpoints.rotate(endpoint.id, secret, 3600)
    post.finish_by(post.submit(photo(1), owner="o"))
    (came,) = post.receiver.came("ok/rotated")
    assert verified(came, SECRET) == verified(came, secret)

    post.endpoints.rotate(endpoint.id, secret, 0)
    post.endpoints.test(endpoint.id)
    wait_until(lambda: len(post.receiver.came("ok/rotated")) == 2)
    last = post.receiver.came("ok/rotated")[-1]
    assert len(last["headers"]["webhook-signature"].split()) == 1
    assert verified(last, secret)["type"] == "webhook.test"


def test_redelivery(make_post: Callable[..., Post]) -> None:
    """It has the same id, goes at once, and the job is kept until it is over."""
    post = make_post(webhook_retries=())
    job = post.submit(photo(1), webhook=post.hook("flaky/1/again"))
    post.finish_by(job)
    (event,) = post.deliveries.events(job)
    assert event.state == "failed"
    expires_at = post.worker.store.get(job.id).expires_at

    post.deliveries.again(post.delivery(event.id))
    wait_until(lambda: post.deliveries.events(job)[0].state == "delivered")
    wait_until(lambda: (post.worker.store.get(job.id).expires_at or 0) > (expires_at or 0))
    assert len(set(post.receiver.ids("flaky/1/again"))) == 1


@pytest.mark.process
def test_a_hanging_endpoint_beside_a_healthy_one(make_post: Callable[..., Post]) -> None:
    """2,000 events for each: the healthy one gets all of its own meanwhile, and the hanging one holds few places."""
    post = make_post(webhook_seconds=1.0, webhook_retries=(3600,), batch_rows=16)
    post.endpoints.create("o", post.hook("hang/beside", Event.ITEM_FINISHED))
    post.endpoints.create("o", post.hook("ok/beside", Event.ITEM_FINISHED))
    job = post.submit(*[photo(1)] * 20, owner="o")
    post.work(job)
    post.link.client.hset(f"sl:job:{job.id}", "total", 2000)  # what is told of each image is found when it is sent
    more = {str(index): f'{{"index":{index},"name":"a","state":"canceled"}}' for index in range(20, 2000)}
    for number in (0, 1):
        of_segment = {index: line for index, line in more.items() if int(index) // 1000 == number}
        post.link.client.hset(f"sl:job:{job.id}:seg:{number}", mapping=of_segment)
    post.sending()
    wait_until(lambda: len(post.receiver.came("ok/beside")) >= 2000, 240, "the healthy endpoint's events")

    assert len(set(post.receiver.ids("ok/beside"))) == 2000
    hanging = post.receiver.came("hang/beside")
    first, last = hanging[0]["at"], post.receiver.came("ok/beside")[-1]["at"]
    # Two at first, then one at a time, each for a second at least.
    assert len([request for request in hanging if request["at"] <= last]) <= 3 + (last - first)
    assert not post.deliveries_ended(job)
