"""The web page: `GET /` and its files, served from memory. The page calls the API like any other caller."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, abort, request

from api.http.security_headers import page_policy

_FOLDER: Final = Path(__file__).resolve().parents[1] / "page"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Callers choose the names of files and labels, so no script may turn text into markup.
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": f"{page_policy()}; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


def page_routes() -> Blueprint:
    """Return the routes `/` and `/page/<version>/<name>`; the version is a hash of the contents of all files.

    Browsers may therefore cache the files for ever. They ask for the page itself each time, and mostly get a 304.
    """
    routes = Blueprint("pages", __name__)
    files = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}
    digest = hashlib.sha256(b"\0".join(part for name, content in files.items() for part in (name.encode(), content)))
    current = digest.hexdigest()[:16]
    index = files.pop("index.html").replace(b"{version}", current.encode())

    @routes.get("/")
    def show() -> Response:
        return _answer(index, ".html", "no-cache")

    @routes.get("/page/<version>/<name>")
    def file(version: str, name: str) -> Response:
        if name not in files:
            abort(HTTPStatus.NOT_FOUND, f"The page has no file {name!r}.")
        # While servers of two versions run side by side, a page of one may ask the other server for its files.
        return _answer(files[name], Path(name).suffix, _FOR_EVER if version == current else "no-cache")

    return routes


def _answer(content: bytes, suffix: str, caching: str) -> Response:
    response = Response(content, content_type=_TYPES[suffix], headers=_HEADERS)
    response.headers["Cache-Control"] = caching
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]  # it returns the response itself
