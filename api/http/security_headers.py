"""The security headers of every response: no sniffing of types, no framing, no caching, no referrer."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response

# A route that returns a page sets its own Content-Security-Policy. No Access-Control header is sent, so pages of other
# sites cannot read any response.
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_policy(*, style: str = "'self'") -> str:
    """Return the Content-Security-Policy of a page: it may load only from this server and must not be framed.

    `style` lists the allowed sources of styles. Pictures may also be `data:` and `blob:` URLs of the page itself.
    """
    return (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        f"style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def register_headers(app: Flask) -> None:
    """Make an application add these headers to every response, unless the route set them itself."""

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response
