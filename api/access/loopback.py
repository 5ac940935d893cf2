"""Protect an API that requires no key: only programs of this machine may call it, not pages of other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from api.http.errors import HostNotAllowedError
from workers.io.public_addresses import is_loopback


def check_local() -> None:
    """Check that `Host` and `Origin` name this machine; raises HostNotAllowedError.

    The API listens on the loopback interface only, but a browser on this machine runs pages of other sites. `Host`
    reveals a page whose name was made to resolve to this machine (DNS rebinding). `Origin` reveals a page that posts
    a form across sites.
    """
    for name, text in (("Host", f"//{request.host}"), ("Origin", request.headers.get("Origin", ""))):
        if text and not _is_here(text):
            raise HostNotAllowedError(
                f"The header {name} names {text.lstrip('/')!r}, which is not this machine. Call the API as 127.0.0.1."
            )


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
