"""What /metrics tells of deliveries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.integration.workers.conftest import photo
from tests.support.polling import wait_until
from workers.telemetry.counters import take_counted

if TYPE_CHECKING:
    from tests.integration.workers.webhooks.conftest import Post


def test_each_attempt_is_counted_by_what_came_of_it(make_post: Callable[..., Post]) -> None:
    """Delivered at once or at last, failed and to be tried again, given up after the last try, refused for good."""
    post = make_post(webhook_retries=(0.05, 0.05))
    take_counted()
    jobs = [  # each of an owner of its own, since the failures of an owner's webhooks on one host count together
        post.submit(photo(1), owner=path, webhook=post.hook(path))
        for path in ("ok/a", "flaky/2/counted", "status/500", "status/410")
    ]
    post.sending()
    for job in jobs:
        post.finish(job)
    counted: Counter[str] = Counter()

    def all_counted() -> bool:  # an attempt is counted after it is recorded
        for field, by in take_counted().items():
            name, *labels = json.loads(field)
            if name == "shelfline_deliveries_total":
                counted[labels[0]] += int(by)
        return counted.total() >= 8

    wait_until(all_counted, what="the count of each attempt")
    assert counted == {"delivered": 2, "failed": 4, "given_up": 1, "gone": 1}
