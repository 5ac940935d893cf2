"""A process that stops after any one Redis command of a job with webhooks: another goes on, and all is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.integration.workers.conftest import NoWakeUps, photo
from tests.integration.workers.mortal import Mortal, StoppedError
from tests.integration.workers.webhooks.conftest import BASE
from tests.support.polling import wait_until
from workers.errors import WebhookNotFoundError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.jobs.webhook import Event, new_secret
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.store.job_store import JobStore
from workers.webhooks import dispatch
from workers.webhooks.deliveries import Deliveries
from workers.webhooks.endpoints import Endpoints

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post

EVENTS = (Event.JOB_STARTED, Event.ITEM_FINISHED, Event.JOB_FINISHED)
NAMES = ("started", "item-0", "item-1", "finished")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender's run is over as soon as nothing is due."""
    monkeypatch.setattr(dispatch, "_IDLE_SECONDS", 0.02)


def end_deliveries(post: Post, job: Job) -> bool:
    """Have the job ended and its webhooks told, by a worker and a sender that nothing happens to."""
    worker = post.worker
    other, lease = worker.another(), int(worker.settings.lease_seconds * 1000)
    sender = post.sender()

    def step() -> bool:
        models, overdue = post.link.run("lanes/sweep", lease)
        if models:
            other.detect("default")
        if overdue:
            other.do_duties()
        sender.run()
        return post.deliveries_ended(job)

    wait_until(step, what="the end of the deliveries")
    return True


def messages(job: Job, hook: int) -> set[str]:
    return {f"msg_{job.id[4:]}_{hook}_{name}" for name in NAMES}


def nothing_waits(post: Post, line: str) -> bool:
    client = post.link.client
    return not client.exists(f"sl:line:{line}:todo", f"sl:line:{line}:leased")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its threads stop as well
def test_a_worker_that_stops_after_any_command(make_post: Callable[..., Post]) -> None:
    """Each in turn: claim, settle, finish and what is between; every event of the job is told, of each hook."""
    post = make_post(batch_rows=1, lease_seconds=0.3)
    life, stopped = 0, True
    while stopped:
        post.link.client.flushall()
        where = f"ok/worker/{life}/"
        endpoint = post.endpoints.create("", post.hook(f"{where}1/", *EVENTS))
        job = post.submit(photo(1), b"no image", webhook=post.hook(f"{where}0/", *EVENTS))
        runtime = post.worker.another()
        mortal = Mortal(runtime._link, life)
        with suppress(StoppedError):
            runtime.detect("default")
            runtime.do_duties()
        stopped = mortal.stopped
        assert end_deliveries(post, job)
        for hook in (0, 1):
            ids = post.receiver.ids(f"{where}{hook}/")
            assert (set(ids), len(ids)) == (messages(job, hook), len(NAMES))
        stored = post.worker.store.get(job.id)
        assert (stored.succeeded, stored.failed) == (1, 1)
        assert nothing_waits(post, endpoint.id)
        life += 1
    assert life > 10  # it was a whole life


def test_a_front_end_that_stops_after_any_command(make_post: Callable[..., Post]) -> None:
    """Either the job is there with all its hooks, or nothing of it."""
    post = make_post()
    post.endpoints.create("", post.hook("ok/front/1/", *EVENTS))
    life, stopped = 0, True
    made: set[str] = set()
    while stopped:
        link = RedisLink(post.settings.redis_url)
        mortal = Mortal(link, life)
        blobs = BlobStore(post.settings.blob_url)
        intake = Intake(link, JobStore(link, blobs, post.settings), blobs, NoWakeUps(), post.settings)
        files = [("a.png", io.BytesIO(photo(1))), ("b.png", io.BytesIO(b"no image"))]
        terms = Submission(webhook=post.hook("ok/front/0/", *EVENTS), base_url=BASE, idempotency_key=f"life {life}")
        with suppress(StoppedError):
            intake.submit(Files(files), JobOptions("default"), terms)
        stopped = mortal.stopped
        link.close()
        new = set(post.link.client.zrange("sl:jobs", 0, -1)) - made
        hooks = {key for job_id in new for key in post.link.client.scan_iter(f"sl:job:{job_id}:hook:*")}
        assert len(hooks) == 2 * len(new)
        made |= new
        life += 1
    (job,) = map(post.worker.store.get, made)
    assert end_deliveries(post, job)
    assert [set(post.receiver.ids(f"ok/front/{hook}/")) for hook in (0, 1)] == [messages(job, hook) for hook in (0, 1)]


def change(post: Post, link: RedisLink, action: str, endpoint: str, job: Job) -> None:
    """One of the changes that there are, over a link of its own."""
    endpoints, hook = Endpoints(link, post.settings), post.hook("ok/changed/", *EVENTS)
    if action == "redeliver":
        Deliveries(link, post.settings).again(post.delivery(f"msg_{job.id[4:]}_0_finished"))
    elif action == "rotate":
        endpoints.rotate(endpoint, new_secret(), 60)
    elif action == "update":
        endpoints.update(endpoint, hook)
    elif action == "create":
        endpoints.create("owner", hook)
    else:
        getattr(endpoints, action)(endpoint)


def all_is_told(post: Post, endpoint: str, job: Job, where: str) -> None:
    """Whatever a change has begun: every event of the job was told, and nothing waits for ever."""
    assert end_deliveries(post, job)
    sender = post.dispatchers[-1]

    def sent() -> bool:
        sender.run()
        return nothing_waits(post, endpoint)

    wait_until(sent, what="the last delivery")
    assert {event_id for event_id in post.receiver.ids(where) if not event_id.startswith("msg_test-")} == messages(
        job, 0
    )


def nothing_is_half(post: Post) -> None:
    """Every endpoint stands in every list, with all that belongs to it."""
    known = post.link.client.zrange("sl:endpoints", 0, -1)
    assert sorted(known) == sorted(kept.id for kept in post.endpoints.all("owner"))
    assert {f"sl:endpoint:{endpoint_id}" for endpoint_id in known} == set(post.link.client.scan_iter("sl:endpoint:*"))


@pytest.mark.parametrize("action", ["redeliver", "rotate", "update", "disable", "enable", "test", "delete", "create"])
def test_a_change_that_stops_after_any_command(make_post: Callable[..., Post], action: str) -> None:
    """It is done or it is not, nothing waits for ever because of it, and it can be asked for again."""
    post = make_post()
    life, stopped = 0, True
    while stopped:
        where = f"ok/{action}/{life}/"
        endpoint = post.endpoints.create("owner", post.hook(where, *EVENTS)).id
        job = post.submit(photo(1), b"no image", owner="owner")
        all_is_told(post, endpoint, job, where)
        if action == "enable":
            post.endpoints.disable(endpoint)
        link = RedisLink(post.settings.redis_url)
        mortal = Mortal(link, life)
        with suppress(StoppedError):
            change(post, link, action, endpoint, job)
        stopped = mortal.stopped
        link.close()
        all_is_told(post, endpoint, job, where)
        nothing_is_half(post)
        with suppress(WebhookNotFoundError):  # where it was deleted already
            change(post, post.link, action, endpoint, job)
        endpoints = {kept.id: kept for kept in post.endpoints.all("owner")}
        nothing_is_half(post)
        assert (endpoint in endpoints) == (action != "delete")
        assert action == "delete" or (endpoints[endpoint].state == "enabled") == (action != "disable")
        for endpoint_id in endpoints:
            post.endpoints.delete(endpoint_id)
        life += 1
    assert life >= 2
