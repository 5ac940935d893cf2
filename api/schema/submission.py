"""What a caller may submit: each form of a job, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    WithJsonSchema,
    model_validator,
)

from api.requests.checking import RequestModel
from api.requests.uploads import Upload
from api.schema.fields import (
    MAX_METADATA_KEYS,
    MOST_SAMPLE,
    PRINTABLE,
    Base64Image,
    Globs,
    Metadata,
    from_text,
    from_words,
    only_ascii,
)
from api.schema.options import OptionFields, ShowHeaders, SubmitHeaders
from api.schema.webhook_request import HTTP, WebhookFields, fetchable
from workers.io.urls import MAX_URL_CHARS
from workers.jobs.output import Output, OutputFormat
from workers.sources.origins.manifest_file import MAX_CUSTOM_ID_CHARS
from workers.sources.origins.named import EVERYTHING
from workers.sources.origins.simple import Item
from workers.sources.selection import Selection

ZIP_TYPES = ("application/zip", "application/x-zip-compressed")

_FILE = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "items": _FILE, "minItems": 1}


class JobFields(OptionFields):
    """The options of a job, as they may also stand in a query."""

    priority: Literal["interactive", "bulk"] | None = Field(
        default=None,
        description="The lane; null takes the interactive one for jobs of one image, or of at most 8 images and tiles.",
    )

    cache: bool = Field(
        default=False,
        description="Take results that were made before of the same bytes, by the same version of the model under the "
        "same options, and keep those that are made now; for how long is the server's setting.",
    )

    output_url: Annotated[str, Field(min_length=1, max_length=4096, pattern=PRINTABLE)] | None = Field(
        default=None,
        description="Where the job writes its results at its end, in a folder of its own: JSON lines, "
        "`output_formats`, `summary.json`. A location in another store, or a folder of the server, under a prefix that "
        "it allows.",
    )
    output_formats: Annotated[list[OutputFormat], Field(max_length=3), BeforeValidator(from_words)] = Field(
        default=["coco", "csv"],
        description="What is written beside JSON lines; in a form or a query, separated by commas.",
    )
    annotate: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0,
        description="Of so many images at most, the first ones that succeeded, a picture with the boxes drawn is "
        "written there too. The server has a bound of its own.",
    )

    @model_validator(mode="after")
    def _has_place(self) -> Self:
        if self.annotate and not self.output_url:
            raise ValueError("annotate is for jobs with an output_url")
        return self

    def output(self, most_annotated: int) -> Output | None:
        """What is written beside, None where nothing is."""
        if self.output_url is None:
            return None
        return Output(self.output_url, tuple(dict.fromkeys(self.output_formats)), min(self.annotate, most_annotated))


class SubmittedJob(JobFields):
    """The options of a job, what its caller wants to find with it again, and who is told of it."""

    webhook: Annotated[WebhookFields, BeforeValidator(from_text)] | None = Field(
        default=None, description="Who is told of the job; in a form, a JSON object. Without a secret it is not signed."
    )

    metadata: Metadata = Field(
        default_factory=dict,
        description=f"Up to {MAX_METADATA_KEYS} texts of your own, shown with the job; in a form, a JSON object.",
    )


def exactly_one(*names: str) -> dict[str, Any]:
    """What JSON Schema says of fields one of which is given, and not null."""
    return {"oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}


class ItemFields(RequestModel):
    """One image: either `url` or `image`."""

    model_config = ConfigDict(json_schema_extra=exactly_one("url", "image"))

    url: Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(fetchable)] | None = Field(
        default=None,
        description="An http(s) URL, which a worker fetches; a URL that gives no image fails this image.",
        json_schema_extra=HTTP,
    )
    image: Base64Image | None = Field(
        default=None, description="The image file in base64, bare or as a `data:` URL.", repr=False
    )
    custom_id: Annotated[str, Field(max_length=MAX_CUSTOM_ID_CHARS, pattern=PRINTABLE)] | None = Field(
        default=None, description="An id of your own, unique within the job, which stands in the image's result."
    )

    @model_validator(mode="after")
    def _one(self) -> ItemFields:
        if (self.url is None) == (self.image is None):
            raise ValueError("give either url or image")
        return self

    @property
    def item(self) -> Item:
        """The item as the intake takes it."""
        return Item(self.url or "", self.image or b"", self.custom_id or "")


class JsonJob(SubmittedJob):
    """A job on images that are named: exactly one of `items`, `folder`, `source`, `manifest`."""

    model_config = ConfigDict(json_schema_extra=exactly_one("items", "folder", "source", "manifest"))

    items: Annotated[Sequence[ItemFields], Field(min_length=1)] | None = Field(
        default=None, description="The images one by one."
    )
    folder: Annotated[str, Field(min_length=1, max_length=4096, pattern=PRINTABLE)] | None = Field(
        default=None, description="A folder of the server: an absolute path under one of the roots that it allows."
    )
    source: Annotated[str, Field(min_length=1, max_length=4096, pattern=PRINTABLE)] | None = Field(
        default=None,
        description="A location in another store, such as `s3://bucket/photos`, under a prefix that the server allows.",
    )
    manifest: Annotated[str, Field(min_length=1, max_length=4096, pattern=PRINTABLE)] | None = Field(
        default=None,
        description="A file of the server or of another store, allowed likewise: JSON lines, or CSV with a header, a "
        "row an image, with `path` or `url`, `name` and `custom_id`.",
    )

    include: Globs = Field(
        default=(),
        description="Of a folder, source or manifest only images whose name matches one of these globs. A glob without "
        "a `/` is for the last part of the name; `*` stays within a part, `**` does not.",
    )
    exclude: Globs = Field(default=(), description="Likewise, none whose name matches one of these.")
    limit: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Likewise, the first so many.")
    sample: Annotated[int, Field(ge=1, le=MOST_SAMPLE)] | None = Field(
        default=None, description="Likewise, so many at random: of the same names and `seed` the same ones."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(default=0, description="Another one gives another sample.")

    @model_validator(mode="after")
    def _one(self) -> JsonJob:
        _exactly_one(self, ("items", "folder", "source", "manifest"))
        if self.items is not None and self.selection != EVERYTHING:
            raise ValueError("include, exclude, limit, sample and seed are for folder, source and manifest")
        return self

    @property
    def selection(self) -> Selection:
        """Which of the images are taken."""
        return Selection(tuple(self.include), tuple(self.exclude), self.limit, self.sample, self.seed)


class UploadJob(SubmittedJob):
    """A job on uploaded files: exactly one of `images`, `archive`, `manifest`."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True, json_schema_extra=exactly_one("images", "archive", "manifest")
    )

    images: Annotated[list[Upload], SkipValidation, WithJsonSchema(_FILES)] | None = Field(
        default=None,
        description="The image files, each with its filename. `file`, `files` and `images[]` are the same field.",
    )
    archive: Annotated[list[Upload], SkipValidation, WithJsonSchema(_FILE)] | None = Field(
        default=None, description="A zip archive of image files."
    )
    manifest: Annotated[list[Upload], SkipValidation, WithJsonSchema(_FILE)] | None = Field(
        default=None,
        description="A manifest, as in the JSON form; its paths are absolute, on the server.",
    )

    @model_validator(mode="after")
    def _one(self) -> UploadJob:
        _exactly_one(self, ("images", "archive", "manifest"))
        for name in ("archive", "manifest"):
            if len(getattr(self, name) or ()) > 1:
                raise ValueError(f"send one file in the field {name}")
        return self


class ArchiveQuery(JobFields):
    """The options of a job whose body is a zip archive."""


class JobHeaders(SubmitHeaders, ShowHeaders):
    """The headers of a submission; with `Prefer: wait=<seconds>` the answer comes when the job ends."""

    metadata: Annotated[Metadata, BeforeValidator(only_ascii)] = Field(
        default_factory=dict,
        alias="Shelfline-Metadata",
        description="Of a zip archive as the body: its `metadata`, a JSON object in ASCII (`\\u00e9` for é).",
    )
    webhook: Annotated[WebhookFields, BeforeValidator(from_text), BeforeValidator(only_ascii)] | None = Field(
        default=None,
        alias="Shelfline-Webhook",
        description="Of a zip archive as the body: its `webhook`, likewise. Addresses end up in logs, hence a header.",
    )


def _exactly_one(asked: JobFields, names: tuple[str, ...]) -> None:
    if sum(getattr(asked, name) is not None for name in names) != 1:
        raise ValueError(f"give exactly one of {', '.join(names)}")
