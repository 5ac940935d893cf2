"""The headers that every answer carries: a browser must neither guess, nor frame, nor keep, nor tell."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flask import Flask, Response

# A route that answers with a page sets its own Content-Security-Policy; other sites may read nothing, since no
# Access-Control header is sent.
SECURITY_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)


def page_policy(*, style: str = "'self'") -> str:
    """The Content-Security-Policy of a page: all it loads comes from here, and nobody frames it.

    `style` says where styles may stand; pictures may also be those that the page itself holds.
    """
    return (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        f"style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def register_headers(app: Flask) -> None:
    """Give every answer of an application the headers that its route did not set."""

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response
