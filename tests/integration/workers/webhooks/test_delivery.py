"""What a receiver gets of a job, signed, once it is so and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.workers.conftest import photo
from tests.integration.workers.webhooks.conftest import BASE, verified
from workers.webhooks.hooks import Event

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post

ALL = tuple(Event)


def test_every_event_of_a_job(post: Post) -> None:
    """Started, each image, finished: each once, signed as the reference library verifies it, with links."""
    job = post.submit(photo(1), b"no image", photo(2), webhook=post.hook("ok/all", *ALL))
    post.sending()
    assert post.receiver.came("ok/all") == []  # nothing is so yet
    post.finish(job)

    told = [verified(one) for one in post.receiver.came("ok/all")]
    kinds = [one["type"] for one in told if one["type"] != "job.progress"]
    assert sorted(kinds) == ["item.finished"] * 3 + ["job.finished", "job.started"]
    items = sorted((one["data"] for one in told if one["type"] == "item.finished"), key=lambda one: one["index"])
    results = post.worker.results(job)
    for item, result in zip(items, results, strict=True):
        assert item.items() >= result.items()
        assert item["urls"]["item"] == f"{BASE}v1/jobs/{job.id}/items/{result['index']}"
    (end,) = [one["data"] for one in told if one["type"] == "job.finished"]
    assert (end["id"], end["state"], end["counts"]["failed"]) == (job.id, "partial", 1)
    assert len(set(post.receiver.ids("ok/all"))) == len(told)
