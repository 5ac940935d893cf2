"""Check the address of the API before the server starts, so that a problem is reported in one line."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from serving.errors import ShelflineError
from workers.errors import StoreUnavailableError
from workers.io.public_addresses import is_loopback
from workers.settings import Settings


class BindError(ShelflineError):
    """Raised when the API must not or cannot listen on the address of its settings."""

    code = "bind_failed"


def checked_binding(settings: Settings, keys_exist: Callable[[], bool]) -> str:
    """Return the address for gunicorn to bind, as host:port.

    Raises BindError if the address is in use or cannot be bound. Also raises it if other machines can reach the
    address while the API needs no key: the settings do not require keys, and no key exists or Redis cannot be asked.
    """
    host = settings.host.strip("[]")
    if not is_loopback(host) and not settings.demands_keys and not _have_keys(keys_exist, host):
        raise BindError(
            f"The API does not listen on {host}: it has no keys yet, so anyone who reaches it could use it. Make a "
            "key with `shelfline keys create NAME`, or set SHELFLINE_REQUIRE_KEYS=1 and make one later, or set "
            "SHELFLINE_HOST=127.0.0.1."
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BindError(
                f"Port {settings.port} is in use. Stop the program that listens there, or set PORT to another port."
            ) from error
        raise BindError(f"The API cannot listen on {host}:{settings.port}: {error}.") from error
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def _have_keys(keys_exist: Callable[[], bool], host: str) -> bool:
    try:
        return keys_exist()
    except StoreUnavailableError as error:
        raise BindError(
            f"The API does not listen on {host}, because it cannot find out whether it has keys. {error} "
            "SHELFLINE_REQUIRE_KEYS=1 makes this check unnecessary."
        ) from error
