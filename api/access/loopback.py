"""Who may call an API that asks for no key: programs of this machine, and no page of another site."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from api.http.errors import HostNotAllowedError
from workers.io.public_addresses import is_loopback


def check_caller() -> None:
    """Raise HostNotAllowedError for a request under a foreign name, or sent by a foreign page.

    The API listens on the loopback interface only, but a browser there runs other people's pages: one whose name is
    made to lead here (DNS rebinding) shows in `Host`, one that posts a form across sites shows in `Origin`.
    """
    for name, text in (("Host", f"//{request.host}"), ("Origin", request.headers.get("Origin", ""))):
        if text and not _is_here(text):
            raise HostNotAllowedError(f"{name} {text.lstrip('/')!r} is not this machine: call it by 127.0.0.1.")


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
