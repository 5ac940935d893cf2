"""Where the API may listen, looked at before the server starts, so that what is wrong is one line."""

from __future__ import annotations

import errno
import ipaddress
import socket

from api.errors import BindError
from workers.settings import Settings


def checked_binding(settings: Settings) -> str:
    """The address for gunicorn to bind; raises BindError where it is not a loopback one, or is in use."""
    host = settings.host.strip("[]")
    if not is_loopback(host):
        raise BindError(
            f"The API does not listen on {host}: it has no keys yet, so anyone who can reach it could use it. "
            "Set SHELFLINE_HOST=127.0.0.1, and put a proxy in front that asks who is there and sends Host: 127.0.0.1."
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BindError(
                f"Port {settings.port} is in use: stop what listens there, or choose another with PORT."
            ) from error
        raise BindError(f"The API cannot listen on {host}:{settings.port}: {error}.") from error
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
