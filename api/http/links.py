"""Links to the API's own addresses. Callers choose the header Host, so a link begins with it only if it is allowed."""

from __future__ import annotations

import re

from flask import Flask, g, request

from api.http.errors import InvalidRequestError
from workers.io.public_addresses import is_loopback
from workers.settings import Settings

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65_535
_ANY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104  binds nothing


def register_links(app: Flask, settings: Settings) -> None:
    """Make an application check the header Host of every request, and choose what its links begin with."""
    allowed = settings.allowed_hosts | ({settings.host.lower()} - _ANY_ADDRESS)

    def choose() -> None:
        name = _checked_host(request.environ.get("HTTP_HOST"))
        if settings.public_url:
            g.link_base = settings.public_url.rstrip("/")
        elif name and (is_loopback(name) or not {name, request.host.lower()}.isdisjoint(allowed)):
            g.link_base = request.root_url.rstrip("/")

    app.before_request(choose)


def link_base() -> str:
    """Return what the links of the current response begin with: a URL without a slash at its end, or ''.

    It is the setting `public_url`, else the address that the request was sent to, if its Host is allowed. Otherwise it
    is '', and links are relative.
    """
    base: str = g.get("link_base", "")
    return base


def _checked_host(text: str | None) -> str:
    """Return the name in a header Host, in lower case, '' if there is no header; raises InvalidRequestError."""
    if text is None:
        return ""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        raise InvalidRequestError("The header Host is malformed. Send `name` or `name:port`.")
    return match["name"].lower()
