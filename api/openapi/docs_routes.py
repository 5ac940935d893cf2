"""Routes for the OpenAPI document (/openapi.json) and a page to read and try it (/docs).

The page loads nothing from other hosts.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

from flask import Blueprint, Flask, Response, abort, send_file

from api.openapi.declaration import Api
from api.openapi.document import openapi_document

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shelfline API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null})
"""
_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def docs_routes(app: Flask, api: Api) -> Blueprint:
    """Return the routes /openapi.json and /docs."""
    routes = Blueprint("docs", __name__)

    @functools.cache
    def document() -> str:
        return json.dumps(openapi_document(app, api.operations), indent=2, ensure_ascii=False) + "\n"

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(document(), mimetype="application/json")

    @routes.get("/docs")
    def page() -> Response:
        return Response(_PAGE, mimetype="text/html")

    @routes.get("/docs/start.js")
    def start() -> Response:
        return Response(_START, mimetype="text/javascript")

    @routes.get("/docs/<name>")
    def file(name: str) -> Response:
        if name not in _FILES:
            abort(404)
        with resources.as_file(resources.files("flask_swagger_ui") / "dist" / name) as path:
            return send_file(path, mimetype=_FILES[name], max_age=86400)

    return routes
