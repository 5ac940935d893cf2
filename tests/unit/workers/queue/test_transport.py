"""What may come out of a Celery queue: a wake-up, or garbage that stops nobody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.io.redis_link import RedisLink
from workers.jobs.lanes import DETECT_QUEUE, DETECT_TASK, WAKE_UP_SECONDS
from workers.queue.celery_app import create_celery
from workers.queue.transport import read_wake_up
from workers.queue.wakeups import DELIVER_TASK, DUTIES_TASK, TASKS, UPKEEP_QUEUE, WEBHOOKS_QUEUE, CeleryWakeUps
from workers.settings import Settings


def message(task: object, args: object, **more: object) -> dict[str, Any]:
    """A message as Celery writes it, with wrong parts if they are given."""
    body = base64.b64encode(json.dumps([args, {}, {}]).encode()).decode()
    return {"body": body, "headers": {"task": task, "id": "1"}, "properties": {"delivery_tag": "1"}} | more


def encoded(content: object) -> bytes:
    return json.dumps(content).encode()


GARBAGE = [
    b"x",
    b"",
    b"\xff\xfe\x00",
    b"5",
    b"null",
    b"[]",
    b"{}",
    b'{"headers": 5}',
    b"[" * 100_000,
    b"1" * 10_000,
    encoded(message(None, [])),
    encoded(message([], [])),
    encoded(message("shelfline.unknown", [])),
    encoded(message(DELIVER_TASK, [])),  # of another queue
    encoded(message(DUTIES_TASK, ["default"])),
    encoded(message(DUTIES_TASK, None)),
    encoded(message(DUTIES_TASK, [], body="???")),
    encoded(message(DUTIES_TASK, [], body=5)),
    encoded(message(DUTIES_TASK, [], body=base64.b64encode(b"\xff").decode())),
    encoded(message(DUTIES_TASK, [], body=base64.b64encode(b"[]").decode())),
]


@pytest.mark.parametrize("raw", GARBAGE)
def test_garbage_is_no_wake_up(raw: bytes) -> None:
    """It says why, whatever it is."""
    with pytest.raises(ValueError, match=r"it (cannot be read|has another form|names another)"):
        read_wake_up(raw, UPKEEP_QUEUE)


NAMES = st.sampled_from(["body", "headers", "properties", "task", "id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=10,
)


@given(JSON)
def test_any_json_is_no_wake_up(content: object) -> None:
    """No form of it raises anything else."""
    with pytest.raises(ValueError, match="it "):
        read_wake_up(json.dumps(content).encode(), DETECT_QUEUE)


def test_only_the_task_and_its_arguments_count() -> None:
    """A time to wait for, an end, or tasks to call afterwards have no effect."""
    more = {"headers": {"task": DETECT_TASK, "id": 5, "eta": "never", "expires": 7, "timelimit": "x", "chord": {}}}
    read = read_wake_up(encoded(message(DETECT_TASK, ["default"], **more)), DETECT_QUEUE)

    assert read["headers"].keys() == {"lang", "task", "id", "root_id", "retries", "ignore_result"}
    assert json.loads(base64.b64decode(read["body"]))[0] == ["default"]


def test_what_is_sent_can_be_read(settings: Settings, link: RedisLink) -> None:
    """Each wake-up, as it lies in its queue; Redis' clock ends it, and no other clock is in it."""
    wakeups = CeleryWakeUps(link, create_celery(settings))
    wakeups.wake("default@3")
    wakeups.wake_for_duties()
    wakeups.wake_for_upkeep(DELIVER_TASK, once_in=1.0, queue=WEBHOOKS_QUEUE)
    for queue in TASKS:
        (raw,) = link.client.lrange(queue, 0, -1)
        assert read_wake_up(raw.encode(), queue)["headers"]["task"] in TASKS[queue]
        assert json.loads(raw)["headers"]["expires"] is json.loads(raw)["headers"]["eta"] is None
        assert 0 < link.client.pttl(queue) <= WAKE_UP_SECONDS * 1000
    assert link.client.keys("_kombu*") == []
    wakeups.close()
