"""Write the OpenAPI document: the declarations of the routes, with the schemas that pydantic makes of their models.

A model's schema is corrected where HTTP cannot carry what it says: parameters and forms are text, never null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from api.access.scopes import scope_of
from api.http.errors import NotFoundError
from api.http.problems import ProblemDocument
from api.openapi.common_problems import ABOUT, OF_EVERY_KEY
from api.openapi.declaration import Operation
from api.openapi.responses import public_name, reference, responses
from api.requests.checking import FORM_TYPE, JSON_TYPE

_PATH_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
_SECURITY_SCHEME = {
    "type": "http",
    "description": "An API key, made with `shelfline keys create`. Each operation names the scope that the key needs; "
    "`admin` includes all others. Before the first key is made, the server requires none, and answers only its own "
    "machine.",
    "scheme": "bearer",
    "bearerFormat": "sl_ and 32 hexadecimal digits",
}


def openapi_document(app: Flask, operations: Mapping[Callable[..., Any], Operation]) -> dict[str, Any]:
    """Return the document of those routes of an application that are declared in `operations`."""
    schemas = _schemas(operations.values())
    tags: dict[str, None] = {}
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        operation = operations.get(app.view_functions[rule.endpoint])
        if operation is None:
            continue
        tags[operation.tag] = None
        path = paths.setdefault(_PATH_PARAMETER.sub(r"{\g<name>}", rule.rule), {})
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path[method.lower()] = _operation(rule, operation, schemas)
    declared = operations.values()
    for form in {operation.form for operation in declared if operation.form}:
        schemas[public_name(form)] = _form(schemas[public_name(form)])
    for model in {operation.query for operation in declared} | {operation.headers for operation in declared}:
        if model:
            del schemas[public_name(model)]  # each operation lists its parameters instead
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shelfline", "description": ABOUT, "version": metadata.version("shelfline")},
        "tags": [{"name": tag, "description": ""} for tag in tags],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": {"key": _SECURITY_SCHEME}},
        "security": [],
    }


class _Generator(GenerateJsonSchema):
    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name).removesuffix("Document")


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the schemas of all models and of those that they refer to, by name."""
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemDocument, "serialization"): None}
    for operation in operations:
        requests = (operation.query, operation.headers, operation.json, operation.form)
        models |= {(model, "validation"): None for model in requests if model}
        bodies = (model for answer in operation.answers for model in answer.content.values())
        models |= {(model, "serialization"): None for model in bodies if model}
    _, made = models_json_schema(list(models), ref_template="#/components/schemas/{model}", schema_generator=_Generator)
    return dict(made["$defs"])


def _operation(rule: Rule, operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    scope = scope_of(rule.endpoint)
    problems = [
        *operation.problems,
        *(problem for problem in OF_EVERY_KEY if scope and problem not in operation.never),
        *((NotFoundError,) if rule.arguments else ()),  # Flask's answer if a part of the path does not match the route
    ]
    summary, _, description = operation.text.partition("\n\n")
    described = {
        "summary": summary.replace("\n", " "),
        "operationId": operation.id,
        "description": "\n\n".join(paragraph.replace("\n", " ") for paragraph in description.split("\n\n")),
        "tags": [operation.tag],
        "parameters": [*_path_parameters(rule), *_parameters(operation, schemas)],
        "responses": responses(operation.answers, problems),
    }
    content: dict[str, Any] = {JSON_TYPE: {"schema": reference(operation.json)}} if operation.json else {}
    if operation.form:
        content[FORM_TYPE] = {"schema": reference(operation.form)}
    content |= {media_type: {} for media_type in operation.raw}
    if content:
        described["requestBody"] = {"content": content, "required": True}
    described["security"] = [{"key": [scope.value]}] if scope else []
    return described


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for match in _PATH_PARAMETER.finditer(rule.rule):
        # Flask's converter `int` accepts digits only.
        schema = {"type": "integer", "minimum": 0} if match["converter"] == "int" else {"type": "string"}
        yield {"name": match["name"], "in": "path", "required": True, "schema": schema, "description": ""}


def _parameters(operation: Operation, schemas: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the query, then the headers."""
    for place, model in (("query", operation.query), ("header", operation.headers)):
        declared = schemas[public_name(model)] if model else {}
        for name, field in declared.get("properties", {}).items():
            schema = _never_null({key: value for key, value in field.items() if key not in {"title", "description"}})
            parameter = {
                "name": name,
                "in": place,
                "schema": schema,
                "required": name in declared.get("required", ()),
                "description": field.get("description", ""),
            }
            kind = (schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema).get("type")
            if kind == "object":  # sent as JSON: `schema` would declare another style
                del parameter["schema"]
                parameter["content"] = {JSON_TYPE: {"schema": schema}}
            if kind == "array":  # sent as words separated by commas
                parameter |= {"style": "form", "explode": False}
            yield parameter


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    form = {**schema, "properties": {name: _never_null(field) for name, field in schema["properties"].items()}}
    if "oneOf" in form:  # fields cannot be null here, so `required` is enough
        form["oneOf"] = [{"required": choice["required"]} for choice in form["oneOf"]]
    return form


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without null: queries, headers and forms carry text, so a value is absent but never null."""
    schema = dict(schema)
    if schema.get("default", ...) in (None, "", []):
        del schema["default"]
    if "anyOf" in schema:
        choices = [choice for choice in schema.pop("anyOf") if choice != {"type": "null"}]
        schema |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    return schema
