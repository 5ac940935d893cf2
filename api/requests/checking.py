"""Check requests with pydantic models. Errors name unknown fields and wrong values; nothing is ignored silently."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.datastructures import Headers, MultiDict

from api.http.errors import InvalidRequestError, UnknownFieldError, UnsupportedMediaTypeError
from api.requests.json_bodies import read_json
from api.requests.multipart import FILE_FIELDS
from api.requests.spool import UploadRequest
from api.requests.uploads import read_upload
from workers.settings import Settings

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
MAX_ITEMS = "max_items"  # in the context of validators: how many images a job may have

Checked = TypeVar("Checked", bound=BaseModel)

_MAX_LISTED = 10  # errors that the response to a request lists


class RequestModel(BaseModel):
    """Base of the models of requests: fields that are not declared are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=(), arbitrary_types_allowed=True
    )


class NoQuery(RequestModel):
    """The query of a route without parameters."""


def checked(
    kind: type[Checked], values: Mapping[str, Any], *, strict: bool, context: Mapping[str, Any] | None = None
) -> Checked:
    """Validate the values of a request with the model `kind`; its validators get the `context`.

    `strict` is for typed values (JSON). Without it, text is converted (forms, queries, headers). Raises
    UnknownFieldError, InvalidRequestError; they name the wrong fields, at most ten of them.
    """
    try:
        return kind.model_validate(dict(values), strict=strict, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        unknown = [_where(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
        if unknown:
            known = ", ".join(sorted(kind.model_fields)) or "no field"
            raise UnknownFieldError(
                f"Unknown field {', '.join(unknown[:_MAX_LISTED])}: this request takes {known}."
            ) from error
        messages = [_message(detail["loc"], detail["msg"]) for detail in details[:_MAX_LISTED]]
        more = f"; and {len(details) - _MAX_LISTED} more" if len(details) > _MAX_LISTED else ""
        raise InvalidRequestError(f"{'; '.join(messages)}{more}.") from error


def checked_query(kind: type[Checked], args: MultiDict[str, str]) -> Checked:
    """Validate the query of a request; raises UnknownFieldError, InvalidRequestError."""
    for name, values in args.lists():
        if len(values) > 1:
            raise InvalidRequestError(f"The parameter {name!r} occurs more than once. Send it once.")
    return checked(kind, args.to_dict(), strict=False)


def checked_headers(kind: type[Checked], headers: Headers) -> Checked:
    """Validate the headers that a model names (by alias, else by field name), and ignore all others.

    Raises InvalidRequestError.
    """
    named = {field.alias or name for name, field in kind.model_fields.items()}
    return checked(kind, {name: headers[name] for name in named if name in headers}, strict=False)


def checked_body(
    request: UploadRequest,
    settings: Settings,
    *,
    json: type[BaseModel] | None,
    form: type[BaseModel] | None,
    raw: tuple[str, ...] = (),
) -> dict[str, BaseModel | None]:
    """Read and validate the body of a request by its media type.

    Returns the values for the arguments `json` and `form` of the route, as far as it takes them; the value of the
    kind that was not sent is None. `raw` are media types, or ranges of them (`image/*`), whose body the route reads
    itself. Raises UnsupportedMediaTypeError, and the errors of `read_json`, `read_upload` and `checked`.
    """
    request.check_encoding()
    bodies: dict[str, BaseModel | None] = {name: None for name, kind in (("json", json), ("form", form)) if kind}
    if json and request.mimetype == JSON_TYPE:
        limits = {MAX_ITEMS: settings.max_job_images}
        bodies["json"] = checked(json, read_json(request, settings), strict=True, context=limits)
    elif form and request.mimetype == FORM_TYPE:
        files, fields = read_upload(request, settings, FILE_FIELDS & form.model_fields.keys())
        bodies["form"] = checked(form, {**fields, **files}, strict=False)
    elif any(fnmatchcase(request.mimetype, kind) for kind in raw):
        request.max_content_length = settings.max_upload_bytes
    else:
        kinds = [*((JSON_TYPE,) if json else ()), *((FORM_TYPE,) if form else ()), *raw]
        raise UnsupportedMediaTypeError(
            f"The media type of the body is {request.mimetype or 'missing'}. Send {' or '.join(kinds)}."
        )
    return bodies


def _message(location: tuple[int | str, ...], text: str) -> str:
    """Return what is wrong with a field; what is wrong with several together names them itself."""
    text = text.removeprefix("Value error, ")
    return f"{_where(location)}: {text}" if location else f"{text[:1].upper()}{text[1:]}"


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(repr(str(part))[1:-1][:100] for part in location)
