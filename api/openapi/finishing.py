"""Correct the OpenAPI document where a model's schema differs from what HTTP can carry (queries, headers, forms)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from api.http.errors import NotFoundError
from api.openapi.responses import failure

_FORM_TYPE = "multipart/form-data"


def finished_document(made: dict[str, Any], raw_bodies: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the corrected copy of the document that spectree made; `raw_bodies` are media types by operation id."""
    forms, schemas = set(), made["components"]["schemas"]
    for path in made["paths"].values():
        for operation in path.values():
            operation["parameters"] = [_parameter(one, schemas) for one in operation["parameters"]]
            for media_type in raw_bodies[operation["operationId"]]:
                body = operation.setdefault("requestBody", {"required": True, "content": {}})
                body["content"][media_type] = {}
            if any(one["in"] == "path" for one in operation["parameters"]):
                _add_not_found(operation["responses"])
            form = operation.get("requestBody", {}).get("content", {}).get(_FORM_TYPE)
            if form:
                forms.add(form["schema"]["$ref"].rsplit("/", 1)[1])
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(made)))
    found = {name: _form(schemas[name]) if name in forms else schemas[name] for name in sorted(used)}
    return {**made, "components": {**made["components"], "schemas": found}}


def _parameter(described: dict[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    schema = {name: value for name, value in described["schema"].items() if name not in {"title", "description"}}
    if described["in"] == "path" and schema["type"] == "integer":
        schema = {"type": "integer", "minimum": 0}  # Flask's converter accepts digits only
    schema = _never_null(schema)
    meant = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if meant.get("type") == "object":  # sent as JSON: `schema` would declare another style
        rest = {name: value for name, value in described.items() if name != "schema"}
        return {**rest, "content": {"application/json": {"schema": schema}}}
    if meant.get("type") == "array":  # sent as words separated by commas
        return {**described, "schema": schema, "style": "form", "explode": False}
    return {**described, "schema": schema}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    form = {**schema, "properties": {name: _never_null(one) for name, one in schema["properties"].items()}}
    if "oneOf" in form:  # fields cannot be null here, so `required` is enough
        form["oneOf"] = [{"required": one["required"]} for one in form["oneOf"]]
    return form


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without null: queries, headers and forms carry text, so a value is absent but never null."""
    schema = dict(schema)
    if schema.get("default", ...) in (None, "", []):
        del schema["default"]
    if "anyOf" in schema:
        some = [one for one in schema.pop("anyOf") if one != {"type": "null"}]
        schema |= some[0] if len(some) == 1 else {"anyOf": some}
    return schema


def _add_not_found(responses: dict[str, Any]) -> None:
    """Add `not_found` to an operation's responses: Flask answers 404 if a part of the path does not match the route."""
    status = str(int(HTTPStatus.NOT_FOUND))
    mine = failure([NotFoundError])
    if status not in responses:
        responses[status] = mine
        return
    codes = _codes(responses[status])
    if NotFoundError.code not in codes:
        codes.append(NotFoundError.code)
        responses[status]["description"] += "\n" + mine["description"]


def _codes(response: dict[str, Any]) -> list[str]:
    (content,) = response["content"].values()
    found: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    return found
