"""A link to the real Redis that does everything in the memory queue as well, and compares every answer.

Time is the test's own: what scripts ask Redis for it is answered from keys that only `pass_time` changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.workers.state_machine.memory_queue import MemoryQueue
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
    """The process is no more. Not an Exception: nothing may handle it."""


def replace_clock(patch: pytest.MonkeyPatch) -> None:
    """From here on scripts take the time from the test's keys, and segments are small."""
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
    """What the store, the queue and the duties run their scripts through."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.memory = MemoryQueue(SMALL_SEGMENT)
        self.left: int | None = None  # scripts until the process that runs them stops
        self.held: list[tuple[str, tuple[object, ...]]] = []  # what those processes would have run next
        self.client.config_set("appendonly", "no")

    def reset(self) -> None:
        """Begin with nothing at all."""
        self.client.flushdb()
        self.memory.__init__(SMALL_SEGMENT)  # type: ignore[misc]  # every object that holds the link keeps it
        self.memory.now = 1_700_000_000_000
        self.left = None
        self.held.clear()
        self._tell_time()

    def _tell_time(self) -> None:
        self.client.mset({_NOW: self.memory.now, _UPTIME: self.memory.uptime})

    def pass_time(self, milliseconds: int) -> None:
        """For everyone, also for claimed images whose worker gives no sign of life."""
        self.memory.age(milliseconds)
        self._tell_time()
        if milliseconds >= 1000:
            for stream in self.streams():
                for one in self.client.xpending_range(stream, "workers", "-", "+", 1000):
                    idle = one["time_since_delivered"] + milliseconds
                    self.client.xclaim(
                        stream, "workers", one["consumer"], 0, [one["message_id"]], idle=idle, justid=True
                    )

    def restart(self) -> None:
        """What a restart of Redis changes: that it has just begun."""
        self.memory.uptime = 0
        self._tell_time()

    def streams(self) -> Iterator[str]:
        """The lanes that any job ever used."""
        for key in self.memory.lanes:
            yield str(key)

    def run(self, name: str, *args: object) -> Any:
        """Run a script here and there; the answers must be the same."""
        if self.left is not None:
            if self.left == 0:
                self.held.append((name, args))
                raise StoppedError
            self.left -= 1
        answer = super().run(name, *args)
        if name in _READS:
            return answer
        expected = self.memory.run(name, *args)
        found = answer
        if name in {"lanes/claim", "lanes/takeover"}:
            found = json.loads(answer)
            expected = _learned(expected, found)
        elif name == "jobs/create":
            found = answer[:2] if answer[0] == "ok" else answer  # and what reads, and rings, that no work depends on
        elif name == "lanes/sweep":
            found = [sorted(answer[0]), answer[1]]
        assert expected == found, f"{expected} of memory, {found} of Redis: {name} {args}"
        return answer


def _learned(expected: Any, answer: Any) -> Any:
    """What memory says, with the names that Redis gave to entries."""
    found = answer["items"] if isinstance(answer, dict) else answer
    mine = expected["items"] if isinstance(expected, dict) else expected
    for one, other in zip(mine, found, strict=False):
        one["entry"].entry = other["entry"]
        one["entry"] = other["entry"]
    return expected
