"""Checks of the values of settings: lists, prefixes, addresses, names and rates. No check connects to anything."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

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
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADMIN_KEY: Final = re.compile(r"sl_[0-9A-Za-z]{32,200}")
_ADMIN_KEY_FORM: Final = "write `sl_` and 32 or more random letters or digits, as in sl_$(openssl rand -hex 16)"


def split_at_commas(value: Any) -> Any:  # noqa: ANN401  the value is not checked yet
    """Return the parts of a text between commas, without empty ones; any other value as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def split_paths(value: Any) -> Any:  # noqa: ANN401  the value is not checked yet
    """Return the paths of a text that separates them as in PATH, with links resolved; any other value as it is."""
    if isinstance(value, str):
        return tuple(Path(part).resolve() for part in value.split(os.pathsep) if part)
    return value


def in_lower_case(texts: frozenset[str]) -> frozenset[str]:
    """Return the texts in lower case."""
    return frozenset(text.lower() for text in texts)


def checked_sources(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return prefixes of stores to read, without `/` at their ends; raises ValueError."""
    for prefix in prefixes:
        protocol, separator, path = prefix.partition("://")
        if not separator or not path or "::" in prefix:
            raise ValueError(f"{prefix!r} is not a prefix: write it as in s3://bucket/photos")
        if protocol in {"file", "local"}:
            raise ValueError(f"{prefix!r} is a folder of the server: name it in SHELFLINE_FOLDER_ROOTS")
        if protocol in {"http", "https"}:
            raise ValueError(f"{prefix!r} cannot be listed: send such images as items, each with its `url`")
    return tuple(prefix.rstrip("/") for prefix in prefixes)


def checked_outputs(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return prefixes of folders and stores to write to, without `/` at their ends; raises ValueError."""
    for prefix in prefixes:
        protocol, separator, path = prefix.partition("://")
        if "::" in prefix or (separator and not path) or not (separator or prefix.startswith("/")):
            raise ValueError(f"{prefix!r} is neither an absolute path nor a prefix such as s3://bucket/results")
        if separator and protocol in {"file", "local"}:
            raise ValueError(f"{prefix!r} is a folder of the server: name it by its absolute path")
        if separator and protocol in {"http", "https"}:
            raise ValueError(f"{prefix!r} cannot be written: name a folder or a store such as s3://bucket/results")
    return tuple(prefix.rstrip("/") for prefix in prefixes)


def checked_pauses(pauses: tuple[float, ...]) -> tuple[float, ...]:
    """Return pauses in seconds, each of more than 0 and at most a week; raises ValueError."""
    if not all(0 < pause <= 7 * 86400 for pause in pauses):
        raise ValueError("each pause must be more than 0 and at most 604800 seconds")
    return pauses


def models_in(folder: Path | None) -> tuple[str, ...]:
    """Return the names of the models in a folder that have a version, sorted.

    A version is a folder `<model>/<number>` with a saved_model.pb. None, a missing or an unreadable folder has none.
    """
    if folder is None:
        return ()
    try:
        models = [path.name for path in folder.iterdir() if _MODEL.fullmatch(path.name) and _has_version(path)]
    except OSError:
        return ()
    return tuple(sorted(models))


def _has_version(model: Path) -> bool:
    try:
        numbered = [path for path in model.iterdir() if re.fullmatch(r"[0-9]+", path.name)]
        return any((path / "saved_model.pb").is_file() for path in numbered)
    except OSError:
        return False


def checked_admin_key(key: SecretStr) -> SecretStr:
    """Return an API key for administrators; raises ValueError, also for an empty one, which nobody could send."""
    if not key:
        raise ValueError(f"it is empty: leave the variable out, or {_ADMIN_KEY_FORM}")
    if not _ADMIN_KEY.fullmatch(key.get_secret_value()):
        raise ValueError(_ADMIN_KEY_FORM)
    return key


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
