"""Every setting of Shelfline, read once from the environment into one typed object."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from workers.errors import SettingsError
from workers.robots import Robot, checked_robots, read_robots
from workers.settings_checks import checked_model_server, checked_rate, checked_redis_url

ArchiveMethod = Literal["stored", "deflated", "bzip2"]

# In the order to look for them: find_spec imports the parents of a module, and fails if one is missing.
_OF_TRACES = (
    "opentelemetry",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.exporter.otlp",
    "opentelemetry.exporter.otlp.proto",
    "opentelemetry.exporter.otlp.proto.http",
)
_ALIKE = 0.85  # difflib's similarity from which on a name counts as a misspelt setting
_ADMIN_KEY = re.compile(r"sl_[0-9A-Za-z]{32,200}")


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
        description="Where jobs, the queue and open results are kept. Needs appendonly and noeviction.",
        repr=False,
    )
    blob_url: str = Field(
        default="var/blobs",
        validation_alias=AliasChoices("BLOB_URL", "SHELFLINE_BLOB_URL"),
        min_length=1,
        description="Where images and manifests are kept: a folder, or any fsspec URL.",
        repr=False,
    )
    model_server: Annotated[str, AfterValidator(checked_model_server)] = Field(
        default="127.0.0.1:8500",
        description="gRPC address of TensorFlow Serving: host:port; of several that take turns, dns:///name:port or "
        "ipv4:10.0.0.1:8500,10.0.0.2:8500.",
    )
    model: str = Field(default="default", min_length=1, description="The model of jobs that name none.")
    contracts: Path | None = Field(
        default=None, description="Folder with a `<model>/contract.toml` for each model that does not describe itself."
    )
    more_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Further models of the server that jobs may ask for, separated by commas."
    )
    robots: Annotated[tuple[Robot, ...], NoDecode] = Field(
        default=(Robot(),),
        description="The robots that may call: JSON (a list of objects), or the path of a TOML file with a [[robots]] "
        "for each; see docs/robot.md. `[]`: none. One without a token at /api/v3/prediction/commodity by default.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(
        default=5000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("PORT", "SHELFLINE_PORT"),
        description="Port that the API listens on.",
    )
    api_key: SecretStr | None = Field(default=None, description="The API key that commands send.")
    require_keys: bool = Field(
        default=False,
        description="Answer only callers with an API key, also before one was made. Where one was made, and where "
        "the API listens on an address that others can reach, it is so anyway.",
    )
    admin_key: SecretStr | None = Field(
        default=None,
        description="An API key of scope admin that needs not be made: `sl_` and 32 or more random letters or digits.",
    )
    key_rate: Annotated[str, AfterValidator(checked_rate)] = Field(
        default="",
        description="Requests of an API key that names no rate itself, as in `10/second;1000/minute`. Empty: no bound.",
    )
    key_concurrency: int = Field(
        default=0, ge=0, description="Requests of an API key that may be under way in one API process. 0: no bound."
    )
    folder_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders of the server that jobs may read, separated as in PATH. None: no folder jobs."
    )
    source_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="fsspec URLs (s3://bucket/photos) below which jobs may read, separated by commas. None: no such.",
    )
    output_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Folders of the server (/srv/results) and fsspec URLs (s3://bucket/results) below which jobs may "
        "write their results, separated by commas. None: no `output_url`.",
    )
    output_seconds: float = Field(
        default=3600.0, ge=0, description="For how long a job's output is tried again where it cannot be written."
    )
    max_annotated: int = Field(default=1000, ge=0, description="Most images of a job whose boxes are drawn by it.")
    batch_rows: int = Field(default=8, ge=1, le=16, description="Most rows of one Predict call.")
    tile_scale: float = Field(
        default=2.5, ge=0.5, le=50, description="Pixels of a photo for one of the model's input, with `tiles: auto`."
    )
    decode_threads: int = Field(default=2, ge=1, le=64, description="Threads of a worker process that decode images.")
    lease_seconds: float = Field(
        default=30.0, ge=0.5, description="After this long without a sign of life, a worker's images are taken over."
    )
    slice_seconds: float = Field(default=2.0, gt=0, description="How long a worker stays with one model.")
    predict_timeout_seconds: float = Field(default=60.0, gt=0, description="Deadline of one Predict call.")
    pool: Literal["prefork", "threads"] = Field(
        default="prefork", description="Celery's pool of a worker: processes, or threads of one."
    )
    concurrency: int = Field(default=1, ge=1, le=64, description="Processes of a worker's pool, or its threads.")
    heartbeat_file: Path | None = Field(
        default=None, description="A file that a worker touches every 5 s while it is able to take work. None: no file."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="What is logged.")
    log_format: Literal["console", "json"] = Field(
        default="console", description="How: lines for a terminal, or a JSON object a line."
    )
    tracing: bool = Field(
        default=False,
        description="Send OpenTelemetry traces to where OTEL_EXPORTER_OTLP_ENDPOINT says (http://localhost:4318). "
        "Needs the packages of the extra `tracing`.",
    )
    max_image_bytes: int = Field(default=50_000_000, gt=0, description="Largest image file, in bytes.")
    max_image_pixels: int = Field(default=50_000_000, gt=0, description="Largest image, in pixels.")
    max_json_bytes: int = Field(default=64_000_000, gt=0, description="Largest JSON body of a request, in bytes.")
    max_json_depth: int = Field(default=32, ge=2, le=200, description="Most levels that a JSON body is nested.")
    max_upload_bytes: int = Field(
        default=10_000_000_000, gt=0, description="Largest body of an upload, in bytes; it never stands in memory."
    )
    max_manifest_bytes: int = Field(default=64_000_000, gt=0, description="Largest manifest, in bytes.")
    max_archive_entries: int = Field(default=100_000, gt=0, description="Most entries of an archive, folders included.")
    max_archive_bytes: int = Field(
        default=10_000_000_000, gt=0, description="Most bytes of an archive's images, inflated, in all."
    )
    archive_methods: Annotated[tuple[ArchiveMethod, ...], NoDecode] = Field(
        default=("stored", "deflated"),
        description="How entries of an archive may be compressed, separated by commas: stored, deflated, bzip2.",
    )
    fetch_seconds: float = Field(default=15.0, gt=0, description="Deadline of fetching one image by URL, in all.")
    fetch_redirects: int = Field(default=3, ge=0, le=20, description="Most redirects of one image's URL.")
    fetch_ports: Annotated[frozenset[int], NoDecode] = Field(
        default=frozenset((80, 443)), description="Ports that images are fetched from, separated by commas."
    )
    fetch_private_hosts: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="Hosts of private networks that images may be fetched from, `host` or `host:port`, separated by "
        "commas. All others must be on the public internet.",
    )
    fetch_threads: int = Field(default=16, ge=1, le=256, description="Images that a worker process fetches at once.")
    fetch_threads_per_host: int = Field(default=8, ge=1, le=256, description="The same, of one host.")
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^?#\s]+)?$",
        description="Where callers reach this API, as in https://shelfline.example.com: links in webhooks begin with "
        "it. Empty: what the request said that the job came with.",
    )
    webhook_seconds: float = Field(default=20.0, gt=0, le=300, description="Deadline of one POST of a webhook, in all.")
    webhook_retries: Annotated[tuple[float, ...], NoDecode] = Field(
        default=(5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        description="Seconds from a webhook's failed attempt to the next, separated by commas; then it is given up.",
    )
    webhook_disable_seconds: float = Field(
        default=5 * 86400.0, gt=0, description="An endpoint is disabled after so long with nothing but failures."
    )
    webhook_ports: Annotated[frozenset[int], NoDecode] = Field(
        default=frozenset((80, 443)), description="Ports that webhooks are sent to, separated by commas."
    )
    webhook_private_hosts: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="Hosts of private networks that webhooks may be sent to, `host` or `host:port`, separated by "
        "commas. All others must be on the public internet.",
    )
    webhook_threads: int = Field(default=32, ge=2, le=512, description="Webhooks that a sender has under way at once.")
    webhook_threads_per_endpoint: int = Field(default=8, ge=1, le=512, description="The same, to one URL.")
    max_job_images: int = Field(default=100_000, gt=0, description="Most images of one job.")
    failure_least: int = Field(
        default=20, ge=1, description="So many images are done before a job's `max_failure_rate` may end it."
    )
    max_waiting_images: int = Field(
        default=1_000_000, gt=0, description="Most accepted images without a result; beyond, jobs are refused."
    )
    max_waiting_images_per_key: int = Field(default=1_000_000, gt=0, description="The same, of one API key.")
    max_blob_bytes: int = Field(
        default=100_000_000_000, gt=0, description="Most bytes of uploaded images; beyond, uploads are refused."
    )
    max_blob_bytes_per_key: int = Field(default=100_000_000_000, gt=0, description="The same, of one API key.")
    deadline_seconds: float = Field(
        default=7 * 86400.0, gt=0, description="What a job has not finished after this long fails."
    )
    retention_seconds: float = Field(
        default=86400.0, gt=0, description="Everything of a job is deleted this long after its end."
    )
    cache_seconds: float = Field(
        default=7 * 86400.0, ge=1, description="How long a result is good for other jobs with the option `cache`."
    )
    max_wait_seconds: float = Field(default=60.0, ge=0, description="Longest long-poll.")
    slow_client_seconds: float = Field(
        default=20.0,
        gt=0,
        description="How long the head of a request may take, and its body may pause (1 s more for each 1000 bytes).",
    )
    detect_wait_seconds: float = Field(
        default=10.0, ge=0, description="How long POST /v1/detect waits for a result where its caller does not say."
    )
    upload_grace_seconds: float = Field(
        default=3600.0, gt=0, description="An upload that never became a job is deleted after this long."
    )

    @field_validator("tracing")
    @classmethod
    def _check_packages(cls, value: bool) -> bool:  # noqa: FBT001  pydantic's
        if value and not all(map(find_spec, _OF_TRACES)):
            raise ValueError("traces need packages that are not installed: run .venv/bin/pip install -e '.[tracing]'")
        return value

    @field_validator("folder_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:  # noqa: ANN401  what the environment holds, before it is checked
        if isinstance(value, str):
            return tuple(Path(part).resolve() for part in value.split(os.pathsep) if part)
        return value

    @field_validator(
        "more_models",
        "source_prefixes",
        "output_prefixes",
        "archive_methods",
        "fetch_ports",
        "fetch_private_hosts",
        "webhook_retries",
        "webhook_ports",
        "webhook_private_hosts",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: Any) -> Any:  # noqa: ANN401  likewise
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("source_prefixes")
    @classmethod
    def _check_prefixes(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        for one in prefixes:
            protocol, found, path = one.partition("://")
            if not found or not path or "::" in one:
                raise ValueError(f"{one!r} is no prefix such as s3://bucket/photos")
            if protocol in {"file", "local", "http", "https"}:
                raise ValueError(f"{one!r}: files of the server are read by folder_roots, http by the items' url")
        return tuple(one.rstrip("/") for one in prefixes)

    @field_validator("output_prefixes")
    @classmethod
    def _check_outputs(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        for one in prefixes:
            protocol, found, path = one.partition("://")
            if "::" in one or (found and not path) or not (found or one.startswith("/")):
                raise ValueError(f"{one!r} is neither an absolute path nor a prefix such as s3://bucket/results")
            if found and protocol in {"file", "local", "http", "https"}:
                raise ValueError(
                    f"{one!r}: folders of the server are given by their absolute path, http is not written"
                )
        return tuple(one.rstrip("/") for one in prefixes)

    @field_validator("robots", mode="before")
    @classmethod
    def _read_robots(cls, value: Any) -> Any:  # noqa: ANN401  likewise
        return read_robots(value) if isinstance(value, str) else value

    @field_validator("robots")
    @classmethod
    def _check_robots(cls, robots: tuple[Robot, ...], info: ValidationInfo) -> tuple[Robot, ...]:
        checked_robots(robots, (info.data.get("model", ""), *info.data.get("more_models", ())))
        return robots

    @field_validator("fetch_private_hosts", "webhook_private_hosts")
    @classmethod
    def _lower_hosts(cls, hosts: frozenset[str]) -> frozenset[str]:
        return frozenset(one.lower() for one in hosts)

    @field_validator("webhook_retries")
    @classmethod
    def _check_retries(cls, pauses: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < pause <= 7 * 86400 for pause in pauses):
            raise ValueError("each is more than 0 and at most 604800 seconds")
        return pauses

    @field_validator("admin_key")
    @classmethod
    def _check_admin_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not _ADMIN_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("write `sl_` and 32 or more random letters or digits, as in sl_$(openssl rand -hex 16)")
        return value

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
        """Return the models that jobs may ask for, the default model first."""
        return (self.model, *(name for name in self.more_models if name != self.model))


# Variables that the Procfiles and the commands read themselves.
OF_COMMANDS = frozenset(f"SHELFLINE_{name}" for name in ("API_KEY", "MODELS", "URL", "VAR", "WEBHOOK_SECRET"))


def variable_of(name: str) -> str:
    """Return the environment variable of a setting; if it has several, the one that the documentation names."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"SHELFLINE_{name.upper()}"


def unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """Return the SHELFLINE_ variables that are no settings, each with the setting that was probably meant, or ""."""
    known = OF_COMMANDS | {f"SHELFLINE_{name.upper()}" for name in Settings.model_fields}
    mistaken = [name for name in names if name.startswith("SHELFLINE_") and name not in known]
    return {name: next(iter(get_close_matches(name, known, 1, _ALIKE)), "") for name in sorted(mistaken)}


def load_settings(**overrides: object) -> Settings:
    """Read the settings. Raises SettingsError if they cannot be used, with one line for each wrong setting."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = [
            f"{_variable(wrong['loc'])} is wrong: {wrong['msg'].removeprefix('Value error, ').rstrip('.')}."
            for wrong in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from error


def _variable(where: tuple[int | str, ...]) -> str:
    name, *inside = (str(part) for part in where or ("?",))
    variable = variable_of(name) if name in Settings.model_fields else name
    return ".".join((variable, *inside))
