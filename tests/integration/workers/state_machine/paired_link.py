"""A link to the real Redis that runs each script in the model as well, and compares the two answers.

The test sets the time: scripts read it from keys that only `pass_time` changes, not from Redis' clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.workers.state_machine.model_queue import QueueModel
from workers.io import redis_link
from workers.io.redis_link import RedisLink
from workers.store import result_segments

SMALL_SEGMENT = 5
_NOW, _UPTIME = "test:now", "test:uptime"
_READS = {"results/settled_ranges", "jobs/list", "jobs/queue_position"}  # scripts that change nothing
_REPLACED = {
    "local SEGMENT = 1000": f"local SEGMENT = {SMALL_SEGMENT}",
    "redis.call('TIME')": (
        f"{{ math.floor(redis.call('GET', '{_NOW}') / 1000), redis.call('GET', '{_NOW}') % 1000 * 1000 }}"
    ),
    "tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))": (
        f"tonumber(redis.call('GET', '{_UPTIME}')) / 1000"
    ),
}


class StoppedError(BaseException):
    """Raised where a process dies. It is no Exception, so that no code handles it."""


def replace_clock(patch: pytest.MonkeyPatch) -> None:
    """Make scripts read the time from the test's keys, and make segments small."""
    source = redis_link._source
    text = "".join(path.read_text() for path in redis_link._SCRIPTS.glob("lib/*.lua"))
    assert all(old in text for old in _REPLACED)

    def replaced(name: str) -> str:
        text = source(name)
        for old, new in _REPLACED.items():
            text = text.replace(old, new)
        return text

    patch.setattr(redis_link, "_source", replaced)
    patch.setattr(result_segments, "SEGMENT", SMALL_SEGMENT)


class PairedLink(RedisLink):
    """The link that the store, the queue and the duties use."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.model = QueueModel(SMALL_SEGMENT)
        self.left: int | None = None  # scripts until the process that runs them stops
        self.held: list[tuple[str, tuple[object, ...]]] = []  # what those processes would have run next
        self.client.config_set("appendonly", "no")

    def reset(self) -> None:
        """Empty Redis and the model."""
        self.client.flushdb()
        self.model.__init__(SMALL_SEGMENT)  # type: ignore[misc]  # every object that holds the link keeps it
        self.model.now = 1_700_000_000_000
        self.left = None
        self.held.clear()
        self._tell_time()

    def _tell_time(self) -> None:
        self.client.mset({_NOW: self.model.now, _UPTIME: self.model.uptime})

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass, also for claims that nobody renews."""
        self.model.age(milliseconds)
        self._tell_time()
        if milliseconds >= 1000:
            for stream in self.streams():
                for pending in self.client.xpending_range(stream, "workers", "-", "+", 1000):
                    idle = pending["time_since_delivered"] + milliseconds
                    self.client.xclaim(
                        stream, "workers", pending["consumer"], 0, [pending["message_id"]], idle=idle, justid=True
                    )

    def restart(self) -> None:
        """Set the uptime of Redis to 0, which is all that scripts see of a restart."""
        self.model.uptime = 0
        self._tell_time()

    def streams(self) -> Iterator[str]:
        """Yield the lanes that any job has used."""
        yield from self.model.lanes

    def run(self, name: str, *args: object) -> Any:
        """Run a script in Redis and in the model; the two answers must be the same."""
        if self.left is not None:
            if self.left == 0:
                self.held.append((name, args))
                raise StoppedError
            self.left -= 1
        answer = super().run(name, *args)
        if name in _READS:
            return answer
        expected = self.model.run(name, *args)
        compared = answer
        if name in {"lanes/claim", "lanes/takeover"}:
            compared = json.loads(answer)
            expected = _with_ids(expected, compared)
        elif name == "jobs/create":
            # The rest is the job's hash, and whether a wake-up is to be sent.
            compared = answer[:2] if answer[0] == "ok" else answer
        elif name == "lanes/sweep":
            compared = [sorted(answer[0]), answer[1]]
        assert expected == compared, f"{expected} of the model, {compared} of Redis: {name} {args}"
        return answer


def _with_ids(expected: Any, answer: Any) -> Any:
    """Return the answer of the model, with the ids that Redis gave to the entries."""
    images, of_redis = (whole["items"] if isinstance(whole, dict) else whole for whole in (expected, answer))
    for image, stored in zip(images, of_redis, strict=False):
        image["entry"].entry = stored["entry"]
        image["entry"] = stored["entry"]
    return expected
