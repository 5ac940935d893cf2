"""Checks of the values of settings: addresses, names and rates. No check connects to anything."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field

if TYPE_CHECKING:
    from limits import RateLimitItem

_REDIS_AS_IN: Final = (
    "write it as in redis://:password@host:6379/0, with %2F, %3F, %23 and %40 for /, ?, # and @ in a password"
)
_MODEL_AS_IN: Final = "write host:port, or dns:///name:port or ipv4:10.0.0.1:8500,10.0.0.2:8500 for several"
_WITH_PORT: Final = re.compile(r"(?:\[[^\[\]/\s]+\]|[^\[\]:/\s]+):([0-9]{1,5})")
_LISTS: Final = ("ipv4:", "ipv6:")
_OTHER_SCHEMES: Final = ("unix:", "unix-abstract:", "vsock:", "xds:")  # gRPC's other schemes, not checked


def checked_redis_url(url: str) -> str:
    """Return a URL that redis-py can connect to.

    Raises ValueError. Its message shows nothing of the URL, which may contain a password.
    """
    from redis import ConnectionPool, RedisError  # noqa: PLC0415  the settings of a command that needs no Redis

    try:
        parts = urlsplit(url)
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError):  # a wrong port, option or certificate
        raise ValueError(_REDIS_AS_IN) from None
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would use 0
        raise ValueError(_REDIS_AS_IN)
    return url


def checked_model_server(target: str) -> str:
    """Return a target that gRPC can connect to; raises ValueError. Without a port gRPC would use that of HTTPS."""
    if target.startswith(_OTHER_SCHEMES):
        return target
    name = target.removeprefix("dns:").rpartition("/")[2] if target.startswith("dns:") else target
    listed = next((name.removeprefix(one).split(",") for one in _LISTS if name.startswith(one)), [name])
    for one in listed:
        found = _WITH_PORT.fullmatch(one)
        if not found or not 1 <= int(found[1]) <= 65535:
            raise ValueError(_MODEL_AS_IN)
    return target


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@ -]*$", max_length=64)]


_MOST = 1_000_000_000


@functools.cache
def parsed_rates(rates: str) -> Sequence[RateLimitItem]:
    """Parse rates as in "10/second;1000/minute", and return them with the shortest window first; raises ValueError."""
    from limits import parse_many  # noqa: PLC0415  only the API counts requests, and limits is large

    try:
        found = sorted(parse_many(rates), key=lambda rate: rate.get_expiry())
    except ValueError:
        found = []
    if not found or not all(1 <= rate.amount <= _MOST for rate in found):
        raise ValueError(f"{rates!r} is no rate: write it as in 10/second or 10/second;1000/minute")
    return found


def checked_rate(text: str) -> str:
    """Return the text if it is empty or holds valid rates; raises ValueError otherwise."""
    if text:
        parsed_rates(text)
    return text
