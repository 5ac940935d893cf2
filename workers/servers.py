"""The addresses of Redis and of the model server, checked as far as that goes without asking anybody."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_REDIS_AS_IN: Final = (
    "write it as in redis://:password@host:6379/0, with %2F, %3F, %23 and %40 for /, ?, # and @ in a password"
)
_MODEL_AS_IN: Final = "write host:port, or dns:///name:port or ipv4:10.0.0.1:8500,10.0.0.2:8500 for several"
_WITH_PORT: Final = re.compile(r"(?:\[[^\[\]/\s]+\]|[^\[\]:/\s]+):([0-9]{1,5})")
_LISTS: Final = ("ipv4:", "ipv6:")
_OTHER_SCHEMES: Final = ("unix:", "unix-abstract:", "vsock:", "xds:")  # gRPC's, of other forms


def checked_redis_url(url: str) -> str:
    """A URL that redis-py can connect to; raises ValueError, which shows nothing of it: it may hold a password."""
    from redis import ConnectionPool, RedisError  # noqa: PLC0415  the settings of a command that needs no Redis

    try:
        parts = urlsplit(url)
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError):  # a port, an option's value, an option, a certificate's
        raise ValueError(_REDIS_AS_IN) from None
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would take 0
        raise ValueError(_REDIS_AS_IN)
    return url


def checked_model_server(target: str) -> str:
    """A target that gRPC can connect to; raises ValueError. Without a port it would take that of HTTPS."""
    if target.startswith(_OTHER_SCHEMES):
        return target
    name = target.removeprefix("dns:").rpartition("/")[2] if target.startswith("dns:") else target
    listed = next((name.removeprefix(one).split(",") for one in _LISTS if name.startswith(one)), [name])
    for one in listed:
        found = _WITH_PORT.fullmatch(one)
        if not found or not 1 <= int(found[1]) <= 65535:
            raise ValueError(_MODEL_AS_IN)
    return target
