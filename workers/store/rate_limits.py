"""Rate limits: how many requests a key may send in a time. All processes count together, in Redis."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from workers.errors import StoreUnavailableError
from workers.io.redis_link import RedisLink, translated
from workers.settings_checks import parsed_rates


@dataclass(frozen=True)
class RateLimitState:
    """The state of one rate limit of a caller: `quota` requests per `window` seconds.

    Of these `left` may still be sent now. More may be sent in `reset` seconds.
    """

    name: str
    quota: int
    window: int
    left: int
    reset: int
    exceeded: bool


class RateLimits:
    """Count requests in sliding windows. Raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        storage = RedisStorage("redis://", connection_pool=link.client.connection_pool, key_prefix="sl:rates")
        self._counter = SlidingWindowCounterRateLimiter(storage)

    def hit(self, caller: str, rates: str) -> list[RateLimitState]:
        """Count a request of a caller; return the state of each rate limit, the shortest window first.

        A request that exceeds a limit is not counted for it. The limits with longer windows are then left out. If Redis
        is there but refuses to write, nothing is counted and the list is empty: a full Redis must let callers delete
        jobs, and it accepts no work anyway.
        """
        states: list[RateLimitState] = []
        for rate in parsed_rates(rates):
            try:
                with translated():
                    counted = self._counter.hit(rate, caller)
                    reset_at, left = self._counter.get_window_stats(rate, caller)
            except StoreUnavailableError as error:
                if not error.reason:
                    raise
                return []
            reset = max(1, math.ceil(reset_at - time.time()))
            window = rate.get_expiry()
            name = f"{rate.amount}-in-{window}s"
            states.append(RateLimitState(name, rate.amount, window, left, min(reset, window), exceeded=not counted))
            if not counted:
                break
        return states
