"""Check every request before its route runs: the API key, its scope, its rate limit and its concurrency limit.

Requests need no key if the settings do not require keys, no key was ever made, and only this machine can connect.
"""

from __future__ import annotations

import hmac
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from flask import Flask, Response, g, request

from api.access.caller import ANYONE, Caller, bind_caller
from api.access.loopback import check_local
from api.access.refusals import (
    ConcurrencyLimitedError,
    KeyInvalidError,
    KeyMissingError,
    RateLimitedError,
    RobotError,
    ScopeMissingError,
)
from api.access.scopes import ROBOTS, scope_of
from api.http.errors import HostNotAllowedError
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.io.public_addresses import is_loopback
from workers.results.baidu import WRONG_TOKEN
from workers.robots import Robot
from workers.settings import Settings
from workers.store.api_keys import ApiKey, Scope, digest_of
from workers.store.rate_limits import RateLimitState

# A caller may receive the last byte of a response and send its next request before this process has counted the first
# request as answered. So a request above the limit waits for a moment before it is refused.
_WAIT_SECONDS = 0.1


class Gate:
    """Admits or refuses the requests of an application, and binds the caller of each."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._settings = settings
        self._keys = backend.keys
        self._rates = backend.rates
        # An API that other machines can reach always requires keys, even if Redis has none: losing the data in Redis
        # must not open the API.
        self._always_required = settings.demands_keys or not is_loopback(settings.host)
        self._concurrent = ConcurrentRequests()
        self._robots = {robot.path: robot for robot in settings.robots}

    def register(self, app: Flask) -> None:
        """Make an application check every request before its route runs."""
        app.before_request(self._enter)
        app.after_request(_leave)

    def _enter(self) -> None:
        """Bind the caller, or raise the error that refuses it; StoreUnavailableError if Redis does not answer."""
        bind_caller(ANYONE)
        if request.blueprint == ROBOTS and request.method != "OPTIONS":
            self._admit_robot(self._robots[request.path])
            return
        # An address without a route answers 404 or 405 without a key. It reveals no more than /openapi.json does.
        needed = scope_of(request.endpoint) if request.endpoint else None
        if needed is None:
            try:
                check_local()
            except HostNotAllowedError:
                if not self._required():
                    raise
        elif self._required():
            secret = _secret()
            key = self._keys.find(secret)
            if key is None:
                raise KeyInvalidError
            self._admit(key, needed)
            g.key_is_valid = lambda: self._is_valid(secret)
        else:
            check_local()

    def _required(self) -> bool:
        return self._always_required or self._keys.required()

    def _is_valid(self, secret: str) -> bool:
        try:
            return self._keys.find(secret) is not None
        except StoreUnavailableError:
            return False

    def _admit(self, key: ApiKey, needed: Scope) -> None:
        structlog.contextvars.bind_contextvars(key=key.id)
        if rates := self._settings.key_rate if key.rate is None else key.rate:
            self._count(key.id, rates)
        if not key.allows(needed):
            raise ScopeMissingError(needed)
        if limit := self._settings.key_concurrency if key.concurrency is None else key.concurrency:
            g.when_answered = self._concurrent.enter(key.id, limit)
        bind_caller(Caller(key.owner, sees_all=key.allows(Scope.ADMIN), quota=key.quota))

    def _admit_robot(self, robot: Robot) -> None:
        """Admit a robot by its token; a robot without a token is admitted only if the API requires no keys.

        Raises RobotError, RateLimitedError, HostNotAllowedError.
        """
        structlog.contextvars.bind_contextvars(robot=robot.path)
        if robot.token is None:
            if self._required():
                raise RobotError(WRONG_TOKEN, "This API requires keys, and the robot has no token: see docs/robot.md.")
            check_local()
        elif not _has_token(robot.token.get_secret_value()):
            raise RobotError(WRONG_TOKEN, "The access_token is missing or wrong.")
        if robot.rate:
            self._count(f"robot:{robot.path}", robot.rate)
        bind_caller(Caller(robot.owner or ""))

    def _count(self, who: str, rates: str) -> None:
        g.rate_states = self._rates.hit(who, rates)
        last = g.rate_states[-1] if g.rate_states else None
        if last and last.exceeded:
            raise RateLimitedError(last.quota, last.window, last.reset)


class ConcurrentRequests:
    """Counts the requests of each key that this process is answering, up to the last byte of the response."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()

    def enter(self, key_id: str, limit: int) -> Callable[[], None]:
        """Count a request of a key, and return a function that ends it.

        Raises ConcurrencyLimitedError if the key still has `limit` concurrent requests after 0.1 s.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts.get(key_id, 0) < limit, _WAIT_SECONDS):
                raise ConcurrencyLimitedError(limit)
            self._counts[key_id] += 1

        def leave() -> None:
            with self._changed:
                self._counts[key_id] -= 1
                if not self._counts[key_id]:
                    del self._counts[key_id]
                self._changed.notify_all()

        return leave


def _secret() -> str:
    """Return the API key of the current request (RFC 6750); raises KeyMissingError, KeyInvalidError."""
    scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
    if not scheme:
        raise KeyMissingError
    if scheme.lower() != "bearer" or not secret:
        raise KeyInvalidError
    return secret.strip()


def _has_token(expected: str) -> bool:
    """Return whether the query has the token exactly once; the comparison takes constant time."""
    tokens = request.args.getlist("access_token")
    return len(tokens) == 1 and hmac.compare_digest(digest_of(tokens[0]), digest_of(expected))


def _leave(response: Response) -> Response:
    if when_answered := g.pop("when_answered", None):
        if response.direct_passthrough:  # a file: its response has no callback for the end of sending
            when_answered()
        else:
            response.call_on_close(when_answered)
    states: Sequence[RateLimitState] = g.pop("rate_states", ())
    if states:  # draft-ietf-httpapi-ratelimit-headers-10
        policies = (f'"{state.name}";q={state.quota};w={state.window}' for state in states)
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(f'"{state.name}";r={state.left};t={state.reset}' for state in states)
    return response
