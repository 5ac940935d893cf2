"""How many requests a key may send in a time, counted in Redis by every process together."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from workers.io.redis_link import RedisLink, translated

_MOST = 1_000_000_000


@dataclass(frozen=True)
class Standing:
    """Where a caller stands with one of its rates: `quota` requests in `window` seconds, of which `left` are left.

    More are there in `reset` seconds.
    """

    name: str
    quota: int
    window: int
    left: int
    reset: int
    exceeded: bool


class RateLimits:
    """Counts requests in a window that slides. Raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        storage = RedisStorage("redis://", connection_pool=link.client.connection_pool, key_prefix="sl:rates")
        self._counter = SlidingWindowCounterRateLimiter(storage)

    def hit(self, who: str, rates: str) -> list[Standing]:
        """Count a request; one that exceeds a rate is not counted for it, nor for the longer ones."""
        found = []
        for rate in parsed_rates(rates):
            with translated():
                counted = self._counter.hit(rate, who)
                reset_at, left = self._counter.get_window_stats(rate, who)
            reset = max(1, math.ceil(reset_at - time.time()))
            window = rate.get_expiry()
            found.append(Standing(_name(rate), rate.amount, window, left, min(reset, window), exceeded=not counted))
            if not counted:
                break
        return found


@functools.cache
def parsed_rates(rates: str) -> Sequence[RateLimitItem]:
    """The rates of a text as in "10/second;1000/minute", the shortest window first; raises ValueError."""
    try:
        found = sorted(parse_many(rates), key=lambda rate: rate.get_expiry())
    except ValueError:
        found = []
    if not found or not all(1 <= rate.amount <= _MOST for rate in found):
        raise ValueError(f"{rates!r} is no rate: write it as in 10/second or 10/second;1000/minute")
    return found


def _name(rate: RateLimitItem) -> str:
    return f"{rate.amount}-in-{rate.get_expiry()}s"
