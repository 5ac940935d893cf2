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

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@ -]*$", max_length=64)]

_REDIS_FORM: Final = (
    "write it as in redis://:password@host:6379/0, with %2F, %3F, %23 and %40 for /, ?, # and @ in a password"
)
_MODEL_FORM: Final = "write host:port, or dns:///name:port or ipv4:10.0.0.1:8500,10.0.0.2:8500 for several"
_WITH_PORT: Final = re.compile(r"(?:\[[^\[\]/\s]+\]|[^\[\]:/\s]+):([0-9]{1,5})")
_LISTS: Final = ("ipv4:", "ipv6:")
_OTHER_SCHEMES: Final = ("unix:", "unix-abstract:", "vsock:", "xds:")  # gRPC's other schemes, not checked
_MAX_REQUESTS: Final = 1_000_000_000  # of a rate


def checked_redis_url(url: str) -> str:
    """Return a URL that redis-py can connect to.

    Raises ValueError. Its message shows nothing of the URL, which may contain a password.
    """
    from redis import ConnectionPool, RedisError  # noqa: PLC0415  most commands need no Redis

    try:
        parts = urlsplit(url)
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError):  # a wrong port, option or certificate
        raise ValueError(_REDIS_FORM) from None
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would use 0
        raise ValueError(_REDIS_FORM)
    return url


def checked_model_server(target: str) -> str:
    """Return a target that gRPC can connect to; raises ValueError. Without a port gRPC would use that of HTTPS."""
    if target.startswith(_OTHER_SCHEMES):
        return target
    name = target.removeprefix("dns:").rpartition("/")[2] if target.startswith("dns:") else target
    addresses = next((name.removeprefix(scheme).split(",") for scheme in _LISTS if name.startswith(scheme)), [name])
    for address in addresses:
        match = _WITH_PORT.fullmatch(address)
        if not match or not 1 <= int(match[1]) <= 65535:
            raise ValueError(_MODEL_FORM)
    return target


@functools.cache
def parsed_rates(rates: str) -> Sequence[RateLimitItem]:
    """Parse rates as in "10/second;1000/minute", and return them with the shortest window first; raises ValueError."""
    from limits import parse_many  # noqa: PLC0415  the package is large, and only the API uses it

    try:
        parsed = sorted(parse_many(rates), key=lambda rate: rate.get_expiry())
    except ValueError:
        parsed = []
    if not parsed or not all(1 <= rate.amount <= _MAX_REQUESTS for rate in parsed):
        raise ValueError(f"{rates!r} is not a rate: write it as in 10/second or 10/second;1000/minute")
    return parsed


def checked_rate(text: str) -> str:
    """Return the text if it is empty or holds valid rates; raises ValueError otherwise."""
    if text:
        parsed_rates(text)
    return text
