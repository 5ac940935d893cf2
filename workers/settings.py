"""Every setting of Shelfline, read once from the environment into one typed object."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from workers.errors import SettingsError
from workers.robots import Robot, check_robots, read_robots
from workers.settings_checks import (
    checked_admin_key,
    checked_model_server,
    checked_outputs,
    checked_pauses,
    checked_rate,
    checked_redis_url,
    checked_sources,
    in_lower_case,
    models_in,
    split_at_commas,
    split_paths,
)

ArchiveEncoding = Literal["gb18030", "cp932", "cp950", "cp949", "cp437", "cp850", "cp866", "cp1251", "cp1252"]
ArchiveMethod = Literal["stored", "deflated", "bzip2"]

# In the order to look for them: find_spec imports the parents of a module, and fails if one is missing.
_TRACING_PACKAGES = (
    "opentelemetry",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.exporter.otlp",
    "opentelemetry.exporter.otlp.proto",
    "opentelemetry.exporter.otlp.proto.http",
)
_ALIKE = 0.85  # difflib's similarity from which on a name counts as a misspelt setting


_COMMAS = BeforeValidator(split_at_commas)
_Texts = Annotated[tuple[str, ...], NoDecode, _COMMAS]
_Ports = Annotated[frozenset[int], NoDecode, _COMMAS]
_Hosts = Annotated[frozenset[str], NoDecode, _COMMAS, AfterValidator(in_lower_case)]


def _check_packages(tracing: bool) -> bool:  # noqa: FBT001  pydantic calls it
    if tracing and not all(map(find_spec, _TRACING_PACKAGES)):
        raise ValueError("traces need packages that are not installed: run .venv/bin/pip install -e '.[tracing]'")
    return tracing


class Settings(BaseSettings):
    """The settings; each is read from `SHELFLINE_<NAME>`, a few also from the name that platforms give them."""

    model_config = SettingsConfigDict(
        env_prefix="SHELFLINE_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    redis_url: Annotated[str, AfterValidator(checked_redis_url)] = Field(
        default="redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("REDIS_URL", "SHELFLINE_REDIS_URL"),
        pattern=r"^(rediss?|unix)://",
        description="The Redis that keeps jobs, the queue and open results. It needs appendonly and noeviction.",
        repr=False,
    )
    blob_url: str = Field(
        default="var/blobs",
        validation_alias=AliasChoices("BLOB_URL", "SHELFLINE_BLOB_URL"),
        min_length=1,
        description="The store of images, manifests and sealed results: a folder, or any fsspec URL.",
        repr=False,
    )
    blob_sync: bool = Field(
        default=True,
        description="If BLOB_URL is a folder: sync images, manifests and results to its disk before anything relies on "
        "them. Without it jobs are accepted faster, but after a power failure images of the jobs accepted in the last "
        "half minute may be missing, and fail.",
    )
    model_server: Annotated[str, AfterValidator(checked_model_server)] = Field(
        default="127.0.0.1:8500",
        description="gRPC address of TensorFlow Serving: host:port. For several servers that share the calls: "
        "dns:///name:port or ipv4:10.0.0.1:8500,10.0.0.2:8500.",
    )
    model: str = Field(default="default", min_length=1, description="The model of jobs that do not name one.")
    contracts: Path | None = Field(
        default=None, description="Folder with a `<model>/contract.toml` for each model that does not describe itself."
    )
    more_models: _Texts = Field(
        default=(), description="Further models of the server that jobs may ask for, separated by commas."
    )
    models: Path | None = Field(
        default=None,
        description="A folder of exported models. Jobs may ask for each model in it that has a version, new ones too. "
        "For a model server that serves the whole folder, as that of `shelfline up` does; commands have `models`.",
    )
    robots: Annotated[tuple[Robot, ...], NoDecode, BeforeValidator(read_robots), AfterValidator(check_robots)] = Field(
        default=(Robot(),),
        description="The robots that may call: JSON (a list of objects), or the path of a TOML file with a [[robots]] "
        "table for each. See docs/robot.md. By default there is one, without a token, at "
        "/api/v3/prediction/commodity. `[]`: no robots.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(
        default=5000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("PORT", "SHELFLINE_PORT"),
        description="Port that the API listens on.",
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^?#\s]+)?$",
        description="The address at which callers reach this API, as in https://shelfline.example.com. Links begin "
        "with it. Empty: they begin with the address that the request was sent to if its host is allowed; otherwise "
        "they are relative.",
    )
    allowed_hosts: _Hosts = Field(
        default=frozenset(),
        description="Hosts that links may begin with, `host` or `host:port`, separated by commas. This machine's "
        "loopback and SHELFLINE_HOST are allowed anyway.",
    )
    api_key: SecretStr | None = Field(default=None, description="The API key that commands send.")
    require_keys: bool = Field(
        default=False,
        description="Answer only callers with an API key, even before a key is created. Once a key exists, or if the "
        "API listens on an address that other machines can reach, keys are required anyway.",
    )
    admin_key: Annotated[SecretStr, AfterValidator(checked_admin_key)] | None = Field(
        default=None,
        description="An API key of scope admin that is valid without being created: `sl_` and 32 or more random "
        "letters or digits.",
    )
    key_rate: Annotated[str, AfterValidator(checked_rate)] = Field(
        default="",
        description="Rate limit of keys that have none of their own, as in `10/second;1000/minute`. Empty: no limit.",
    )
    key_concurrency: int = Field(
        default=0, ge=0, description="Requests of one API key that an API process handles at once. 0: no limit."
    )
    folder_roots: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(split_paths)] = Field(
        default=(),
        description="Folders of the server that jobs may read, separated as in PATH. Empty: jobs may not name folders.",
    )
    source_prefixes: Annotated[_Texts, AfterValidator(checked_sources)] = Field(
        default=(),
        description="fsspec URLs (s3://bucket/photos) below which jobs may read, separated by commas. Empty: jobs may "
        "not name such URLs.",
    )
    output_prefixes: Annotated[_Texts, AfterValidator(checked_outputs)] = Field(
        default=(),
        description="Folders of the server (/srv/results) and fsspec URLs (s3://bucket/results) below which jobs may "
        "write their results, separated by commas. Empty: jobs may not have an `output_url`.",
    )
    output_seconds: float = Field(
        default=3600.0, ge=0, description="How long a job tries again to write its output if that fails."
    )
    max_annotated: int = Field(default=1000, ge=0, description="Maximum number of images that a job draws.")
    batch_rows: int = Field(default=8, ge=1, le=16, description="Maximum number of rows in a Predict call.")
    tile_scale: float = Field(
        default=2.5,
        ge=0.5,
        le=50,
        description="With `tiles: auto`: pixels of a photo per pixel of the model's input, on each side.",
    )
    decode_threads: int = Field(default=2, ge=1, le=64, description="Threads per worker process that decode images.")
    image_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How long a worker may take to read and decode one image. An image that takes longer counts as one "
        "that killed its worker: the third time it fails.",
    )
    lease_seconds: float = Field(
        default=30.0, ge=0.5, description="After this time without a renewal from a worker, its images are taken over."
    )
    version_gone_seconds: float = Field(
        default=600.0,
        ge=0,
        description="How long a job waits for a `model_version` that the model server does not have any more. Its "
        "remaining images then fail, or go to the newest version if it has `version_fallback`.",
    )
    slice_seconds: float = Field(
        default=2.0, gt=0, description="How long a worker stays with one model while others wait."
    )
    predict_timeout_seconds: float = Field(default=60.0, gt=0, description="Deadline of one Predict call.")
    pool: Literal["prefork", "threads"] = Field(
        default="prefork", description="Celery's pool of a worker: `prefork` (processes) or `threads` (of one process)."
    )
    concurrency: int = Field(default=1, ge=1, le=64, description="Number of processes, or threads, of a worker's pool.")
    heartbeat_file: Path | None = Field(
        default=None, description="A file that a worker touches every 5 s while it can take work. Empty: no file."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Format of the logs: lines for a terminal, or one JSON object per line."
    )
    tracing: Annotated[bool, AfterValidator(_check_packages)] = Field(
        default=False,
        description="Send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT (http://localhost:4318). This needs the "
        "packages of the extra `tracing`.",
    )
    max_image_bytes: int = Field(default=50_000_000, gt=0, description="Largest image file, in bytes.")
    max_image_pixels: int = Field(default=50_000_000, gt=0, description="Largest image, in pixels.")
    max_json_bytes: int = Field(default=64_000_000, gt=0, description="Largest JSON body of a request, in bytes.")
    max_json_depth: int = Field(default=32, ge=2, le=200, description="Maximum depth of nesting in a JSON body.")
    max_upload_bytes: int = Field(
        default=10_000_000_000, gt=0, description="Largest body of an upload, in bytes. It is never held in memory."
    )
    max_manifest_bytes: int = Field(default=64_000_000, gt=0, description="Largest manifest, in bytes.")
    max_archive_entries: int = Field(default=100_000, gt=0, description="Maximum number of entries in an archive.")
    max_archive_bytes: int = Field(
        default=10_000_000_000, gt=0, description="Largest total size of an archive's images, decompressed, in bytes."
    )
    archive_methods: Annotated[tuple[ArchiveMethod, ...], NoDecode, _COMMAS] = Field(
        default=("stored", "deflated"),
        description="Compression methods that entries of an archive may have, separated by commas: stored, deflated, "
        "bzip2.",
    )
    archive_encoding: ArchiveEncoding = Field(
        default="gb18030",
        description="Encoding of an archive's names, and of a manifest, that say none, are not UTF-8 and cannot be "
        "told by their characters: gb18030, cp932, cp950, cp949. The encodings cp437, cp850, cp866, cp1251 and cp1252 "
        "are never guessed; one of these is taken for every such name and manifest.",
    )
    fetch_seconds: float = Field(default=15.0, gt=0, description="Deadline for fetching one image by URL.")
    fetch_redirects: int = Field(default=3, ge=0, le=20, description="Maximum number of redirects for one image.")
    fetch_ports: _Ports = Field(
        default=frozenset((80, 443)), description="Ports that images may be fetched from, separated by commas."
    )
    fetch_private_hosts: _Hosts = Field(
        default=frozenset(),
        description="Hosts of private networks that images may be fetched from, `host` or `host:port`, separated by "
        "commas. All others must be on the public internet.",
    )
    fetch_threads: int = Field(default=16, ge=1, le=256, description="Images that a worker process fetches at once.")
    fetch_threads_per_host: int = Field(default=8, ge=1, le=256, description="The same for one host.")
    webhook_seconds: float = Field(default=20.0, gt=0, le=300, description="Deadline of one POST of a webhook.")
    webhook_retries: Annotated[tuple[float, ...], NoDecode, _COMMAS, AfterValidator(checked_pauses)] = Field(
        default=(5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        description="Seconds from a failed delivery attempt to the next one, separated by commas. When the list ends, "
        "the delivery is given up.",
    )
    webhook_disable_seconds: float = Field(
        default=5 * 86400.0, gt=0, description="An endpoint whose deliveries all fail for this long is disabled."
    )
    webhook_ports: _Ports = Field(
        default=frozenset((80, 443)), description="Ports that webhooks may be sent to, separated by commas."
    )
    webhook_private_hosts: _Hosts = Field(
        default=frozenset(),
        description="Hosts of private networks that webhooks may be sent to, `host` or `host:port`, separated by "
        "commas. All others must be on the public internet.",
    )
    webhook_threads: int = Field(default=32, ge=2, le=512, description="Webhooks that a sender delivers at once.")
    webhook_threads_per_endpoint: int = Field(
        default=8, ge=1, le=512, description="The same for one endpoint, or for all URLs of one owner on one host."
    )
    max_job_images: int = Field(default=100_000, gt=0, description="Maximum number of images in a job.")
    failure_least: int = Field(
        default=20, ge=1, description="Number of images that must be done before `max_failure_rate` can end a job."
    )
    max_waiting_images: int = Field(
        default=1_000_000, gt=0, description="Maximum number of images that wait for a result. More are refused."
    )
    max_waiting_images_per_key: int = Field(default=1_000_000, gt=0, description="The same for each API key.")
    max_blob_bytes: int = Field(
        default=100_000_000_000, gt=0, description="Maximum size of all stored uploads, in bytes. More are refused."
    )
    max_blob_bytes_per_key: int = Field(default=100_000_000_000, gt=0, description="The same for each API key.")
    min_free_bytes: int = Field(
        default=200_000_000,
        ge=0,
        description="Free space of the blob store's folder and of the temporary folder, in bytes. With less, /readyz "
        "says that the disk is full.",
    )
    deadline_seconds: float = Field(
        default=7 * 86400.0, gt=0, description="Deadline of jobs that do not name one. Unfinished images then fail."
    )
    retention_seconds: float = Field(
        default=86400.0, gt=0, description="A job and all its data are deleted this long after its end."
    )
    cache_seconds: float = Field(
        default=7 * 86400.0, ge=1, description="How long jobs with the option `cache` may use a stored result."
    )
    max_wait_seconds: float = Field(default=60.0, ge=0, description="Longest time that a request may wait.")
    slow_client_seconds: float = Field(
        default=20.0,
        gt=0,
        description="How long a caller may take to send the head of a request, and how long it may pause in the body. "
        "Each 1000 bytes of the body give back 1 s of what it has paused.",
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="Connections to an API process, and at most half of its open files (`ulimit -n`). One more closes "
        "the connection that has been without a whole request for longest.",
    )
    max_connections_per_address: int = Field(
        default=0,
        ge=0,
        description="Connections from one IP address to an API process. 0: no limit, as behind a proxy, where all come "
        "from the address of the proxy.",
    )
    max_connections_per_key: int = Field(
        default=0,
        ge=0,
        description="Connections with one API key to an API process, from the end of the head of a request to the end "
        "of its answer. 0: no limit.",
    )
    detect_wait_seconds: float = Field(
        default=10.0, ge=0, description="How long POST /v1/detect waits for a result if the caller does not say."
    )
    upload_grace_seconds: float = Field(
        default=3600.0, gt=0, description="An upload that does not become a job is deleted after this time."
    )

    @property
    def own_key(self) -> str | None:
        """Return the API key that commands send, in clear text."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def demands_keys(self) -> bool:
        """Return whether callers need an API key, even if no key was created yet."""
        return self.require_keys or self.admin_key is not None

    @property
    def served_models(self) -> tuple[str, ...]:
        """Return the models that jobs may ask for, the default model first. The folder `models` is listed anew."""
        return tuple(dict.fromkeys((self.model, *self.more_models, *models_in(self.models))))


# Variables that the Procfiles and the commands read themselves.
COMMAND_VARIABLES = frozenset(f"SHELFLINE_{name}" for name in ("API_KEY", "MODELS", "URL", "VAR", "WEBHOOK_SECRET"))


def variable_of(name: str) -> str:
    """Return the environment variable of a setting; if it has several, the one that the documentation names."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"SHELFLINE_{name.upper()}"


def unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """Return the SHELFLINE_ variables that are no settings, each with the setting that was probably meant, or ""."""
    known = COMMAND_VARIABLES | {f"SHELFLINE_{name.upper()}" for name in Settings.model_fields}
    mistaken = [name for name in names if name.startswith("SHELFLINE_") and name not in known]
    return {name: next(iter(get_close_matches(name, known, 1, _ALIKE)), "") for name in sorted(mistaken)}


def load_settings(**overrides: object) -> Settings:
    """Read the settings. Raises SettingsError if they cannot be used, with one line for each wrong setting."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = [
            f"{_variable(problem['loc'])} is wrong: {problem['msg'].removeprefix('Value error, ').rstrip('.')}."
            for problem in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from error


def _variable(location: tuple[int | str, ...]) -> str:
    name, *inside = (str(part) for part in location or ("?",))
    variable = variable_of(name) if name in Settings.model_fields else name
    return ".".join((variable, *inside))
