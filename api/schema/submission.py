"""The models of `POST /v1/jobs`: each form in which a job can be submitted, and its headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SkipValidation,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from api.requests.checking import MAX_ITEMS, RequestModel
from api.requests.uploads import Upload
from api.schema.fields import (
    FILE_SCHEMA,
    MAX_METADATA_KEYS,
    MAX_SAMPLE,
    Base64Image,
    Globs,
    Location,
    Metadata,
    PlainText,
    from_text,
    from_words,
    only_ascii,
)
from api.schema.options import OptionFields, ShowHeaders, SubmitHeaders
from api.schema.webhook_request import HTTP, WebhookFields, fetchable
from workers.errors import TooManyImagesError
from workers.io.names import NO_CONTROLS
from workers.io.urls import MAX_URL_CHARS
from workers.jobs.output import Output, OutputFormat
from workers.sources.origins.manifest_file import MAX_CUSTOM_ID_CHARS
from workers.sources.origins.named import EVERYTHING
from workers.sources.origins.simple import Item
from workers.sources.selection import Selection

ZIP_TYPES = ("application/zip", "application/x-zip-compressed")

_MAX_ERROR_CHARS = 300
_MAX_WRONG_SHOWN = 10  # more errors than the answer to a request lists
_FILES = {"type": "array", "items": FILE_SCHEMA, "minItems": 1}


class JobFields(OptionFields):
    """The options of a job that may also be sent in a query."""

    priority: Literal["interactive", "bulk"] | None = Field(
        default=None,
        description="The lane. Null: `interactive` for one image, or at most 8 images and tiles; else `bulk`.",
    )

    cache: bool = Field(
        default=False,
        description="Reuse the results of earlier jobs for the same bytes, model version and options, and keep the "
        "results of this job for later ones. A setting of the server says how long they are kept.",
    )

    output_url: Location | None = Field(
        default=None,
        description="Where the job writes its results when it ends, in a folder of its own: JSON lines, "
        "`output_formats` and `summary.json`. This is a location in another store or a folder of the server, under a "
        "prefix that the server allows.",
    )
    output_formats: Annotated[list[OutputFormat], Field(max_length=3), BeforeValidator(from_words)] = Field(
        default=["coco", "csv"],
        description="The formats to write besides JSON lines; in a form or a query, separated by commas.",
    )
    annotate: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0,
        description="For at most this many images, the first that succeeded, the job also writes a picture with the "
        "boxes drawn on it. A setting of the server limits this number.",
    )

    @model_validator(mode="after")
    def _needs_output_url(self) -> Self:
        if self.annotate and not self.output_url:
            raise ValueError("`annotate` needs an `output_url`")
        return self

    def output(self, max_annotated: int) -> Output | None:
        """Return where and in which formats the job writes its results; None without an `output_url`."""
        if self.output_url is None:
            return None
        return Output(self.output_url, tuple(dict.fromkeys(self.output_formats)), min(self.annotate, max_annotated))


class SubmittedJob(JobFields):
    """The options of a job, its metadata and its webhook."""

    webhook: Annotated[WebhookFields, BeforeValidator(from_text)] | None = Field(
        default=None,
        description="A webhook that gets the events of this job; in a form, a JSON object. Without a secret, events "
        "are not signed.",
    )

    metadata: Metadata = Field(
        default_factory=dict,
        description=f"Up to {MAX_METADATA_KEYS} texts of your own, returned with the job; in a form, a JSON object.",
    )


def _one_of_schema(*names: str) -> dict[str, Any]:
    """Return the JSON Schema that requires exactly one of the fields, with a value that is not null."""
    return {"oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}


class ItemFields(RequestModel):
    """One image: either `url` or `image`."""

    model_config = ConfigDict(json_schema_extra=_one_of_schema("url", "image"))

    url: Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(fetchable)] | None = Field(
        default=None,
        description="The http(s) URL of the image. A worker fetches it; if it gives no image, this image fails.",
        json_schema_extra=HTTP,
    )
    image: Base64Image | None = Field(
        default=None,
        description="The image file in base64: bare, in lines, percent-encoded or as a `data:` URL.",
        repr=False,
    )
    custom_id: Annotated[PlainText, Field(max_length=MAX_CUSTOM_ID_CHARS)] | None = Field(
        default=None, description="An id of your own, unique within the job. The image's result contains it."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> ItemFields:
        if (self.url is None) == (self.image is None):
            raise ValueError("give either `url` or `image`, not both")
        return self

    _error: str = PrivateAttr(default="")

    @classmethod
    def of_error(cls, error: str, custom_id: str) -> ItemFields:
        """Return an item that is wrong in itself; its image fails with this error."""
        item = cls.model_construct(url=None, image=None, custom_id=custom_id or None)
        item._error = error  # noqa: SLF001  its own class's
        return item

    @property
    def item(self) -> Item:
        """The image as the intake takes it."""
        return Item(self.url or "", self.image or b"", self.custom_id or "", self._error)


def _each_alone(
    values: Any,  # noqa: ANN401  the value before its validation
    validate: ValidatorFunctionWrapHandler,
    info: ValidationInfo,
) -> Sequence[ItemFields]:
    """Validate the items; one that is wrong becomes an image that fails, so that it takes no other with it.

    Raises ValidationError if all items are wrong, or at the first field that does not exist: then the program that
    sends them is at fault, and learns it at once. Raises TooManyImagesError if there are more items than a job may
    have.
    """
    if not isinstance(values, list) or not values:
        return cast("Sequence[ItemFields]", validate(values))
    most = (info.context or {}).get(MAX_ITEMS, len(values))
    if len(values) > most:
        raise TooManyImagesError(f"The job has {len(values)} items, and may have {most}. Submit several jobs.")
    items: list[ItemFields] = []
    wrong = 0
    for number, value in enumerate(values):
        try:
            items += validate([value])
        except ValidationError as error:
            wrong += 1
            items.append(_wrong_item(number, value, error))
    if wrong == len(values):
        validate(values[:_MAX_WRONG_SHOWN])
    return items


def _wrong_item(number: int, value: Any, error: ValidationError) -> ItemFields:  # noqa: ANN401  not validated
    """Return an item that fails with the first of its errors; raises ValidationError for a field that is unknown."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [detail["loc"][1:] for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        lines = [InitErrorDetails(type="extra_forbidden", loc=(number, *names), input=None) for names in unknown]
        raise ValidationError.from_exception_data("items", lines)
    field = ".".join(str(part) for part in details[0]["loc"][1:])
    text = f"{field}: {details[0]['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return ItemFields.of_error(f"The item is wrong: {text[:_MAX_ERROR_CHARS].rstrip('.')}.", _custom_id_of(value))


def _custom_id_of(value: Any) -> str:  # noqa: ANN401  an item before its validation
    """Return the caller's id of a wrong item, by which its result is found; '' if the id itself is wrong."""
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    usable = isinstance(custom_id, str) and len(custom_id) <= MAX_CUSTOM_ID_CHARS and re.search(NO_CONTROLS, custom_id)
    return str(custom_id) if usable else ""


class JsonJob(SubmittedJob):
    """A job whose images are named: exactly one of `items`, `folder`, `source`, `manifest`."""

    model_config = ConfigDict(json_schema_extra=_one_of_schema("items", "folder", "source", "manifest"))

    items: Annotated[Sequence[ItemFields], Field(min_length=1), WrapValidator(_each_alone)] | None = Field(
        default=None,
        description="The images, one by one. An item that is wrong fails alone, unless all are wrong.",
    )
    folder: Location | None = Field(
        default=None, description="A folder of the server, as an absolute path under one of the roots that it allows."
    )
    source: Location | None = Field(
        default=None,
        description="A location in another store, such as `s3://bucket/photos`, under a prefix that the server allows.",
    )
    manifest: Location | None = Field(
        default=None,
        description="A file of the server or of another store, under a root or prefix that the server allows: JSON "
        "lines, or CSV with a header. Each row is an image, with `path` or `url`, `name` and `custom_id`.",
    )

    include: Globs = Field(
        default=[],
        description="Take only those images of a folder, source or manifest whose name matches one of these globs. A "
        "glob without a `/` is compared with the last part of the name. `*` matches within a part, `**` across parts.",
    )
    exclude: Globs = Field(default=[], description="Leave out images whose name matches one of these globs.")
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Take only this many of these images, the first ones."
    )
    sample: Annotated[int, Field(ge=1, le=MAX_SAMPLE)] | None = Field(
        default=None,
        description="Take this many of these images at random; the same names and `seed` give the same images.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        default=0, description="The seed of `sample`. Another seed gives another sample."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> JsonJob:
        _check_exactly_one(self, ("items", "folder", "source", "manifest"))
        if self.items is not None and self.selection != EVERYTHING:
            raise ValueError(
                "`include`, `exclude`, `limit`, `sample` and `seed` need a `folder`, `source` or `manifest`"
            )
        return self

    @property
    def selection(self) -> Selection:
        """Which images of a folder, source or manifest are taken."""
        return Selection(tuple(self.include), tuple(self.exclude), self.limit, self.sample, self.seed)


class UploadJob(SubmittedJob):
    """A job on uploaded files: exactly one of `images`, `archive`, `manifest`."""

    model_config = ConfigDict(json_schema_extra=_one_of_schema("images", "archive", "manifest"))

    images: Annotated[list[Upload], SkipValidation, WithJsonSchema(_FILES)] | None = Field(
        default=None,
        description="The image files, each with its file name. `file`, `files` and `images[]` are the same field.",
    )
    archive: Annotated[list[Upload], SkipValidation, WithJsonSchema(FILE_SCHEMA)] | None = Field(
        default=None, description="A zip archive of image files."
    )
    manifest: Annotated[list[Upload], SkipValidation, WithJsonSchema(FILE_SCHEMA)] | None = Field(
        default=None,
        description="A manifest, as in a JSON body. Its paths are absolute paths on the server.",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> UploadJob:
        _check_exactly_one(self, ("images", "archive", "manifest"))
        for name in ("archive", "manifest"):
            if len(getattr(self, name) or ()) > 1:
                raise ValueError(f"send a single file in the field `{name}`")
        return self


class JobHeaders(SubmitHeaders, ShowHeaders):
    """The headers of a submission. With `Prefer: wait=<seconds>` the response comes when the job ends."""

    metadata: Annotated[Metadata, BeforeValidator(only_ascii)] = Field(
        default_factory=dict,
        alias="Shelfline-Metadata",
        description="The `metadata` of a zip archive as the body: a JSON object in ASCII (`\\u00e9` for é).",
    )
    webhook: Annotated[WebhookFields, BeforeValidator(from_text), BeforeValidator(only_ascii)] | None = Field(
        default=None,
        alias="Shelfline-Webhook",
        description="The `webhook` of a zip archive as the body: a JSON object in ASCII. It is a header, because the "
        "query of a request is written to logs.",
    )


def _check_exactly_one(job: JobFields, names: tuple[str, ...]) -> None:
    if sum(getattr(job, name) is not None for name in names) != 1:
        raise ValueError(f"give exactly one of {', '.join(f'`{name}`' for name in names)}")
