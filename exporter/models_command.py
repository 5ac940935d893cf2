"""List, verify, roll back and remove versions: `python -m exporter models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.comparing.source import SourceModel
from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.versions.catalogue import VersionRecord, list_versions, remove, roll_back
from exporter.versions.folders import model_folder
from exporter.versions.origin import has_origin, read_origin
from serving.contract import Contract

COMMANDS = ("list", "verify", "rollback", "remove")
LARGEST_DIFFERENCE = 1e-4

app = typer.Typer(
    no_args_is_help=True, help="List, verify, roll back and remove exported versions. Without a command: list them."
)

Models = Annotated[Path, typer.Option(help="The folder that the model server serves.")]
Name = Annotated[str, typer.Argument(help="The name of the model.")]
Number = Annotated[int, typer.Argument(help="The number of the version.", metavar="VERSION")]
Modules = Annotated[
    list[str] | None,
    typer.Option("--import", help="A module or .py file that the model's code is in; with --trust-model-code."),
]
Server = Annotated[str | None, typer.Option(help="The gRPC address of a model server, HOST:PORT.")]


def with_default_command(arguments: list[str]) -> list[str]:
    """Insert the command `list` after `models` if the arguments name no command."""
    if arguments[:1] != ["models"] or arguments[1:2] == ["--help"] or (arguments[1:2] and arguments[1] in COMMANDS):
        return arguments
    return ["models", "list", *arguments[1:]]


@app.command("list")
def list_command(
    name: Annotated[str | None, typer.Argument(help="The name of a model. Default: all models.")] = None,
    *,
    models: Models = Path("models"),
    server: Server = None,
) -> None:
    """List the versions, newest first: size, contract, digest of the weights, and the state on the server."""
    if name is not None:
        model_folder(models, name)
    records = list_versions(models, name)
    states: dict[str, dict[int, tuple[str, str]]] | None = None
    server_error: ExportError | None = None
    if server is not None:
        tensorflow.prepare()
        from exporter.comparing.served import served_versions  # noqa: PLC0415 - it imports TensorFlow

        try:
            states = {model: served_versions(server, model) for model in {record.model for record in records}}
        except ExportError as error:
            server_error = error
    for record in records:
        state, reason = states[record.model].get(record.number, ("not", "")) if states else ("", "")
        typer.echo(_line(record, f"{state} on {server}{reason and f' ({reason})'}" if states else ""))
    if server_error is not None:  # the files can be listed all the same
        raise server_error


def _line(record: VersionRecord, served: str) -> str:
    fields = [
        f"{record.model} {record.number}",
        "" if record.enabled else "disabled",
        served,
        f"{record.size / 1e6:.1f} MB",
        _described(record),
        f"sha256 {record.contract.weights_sha256}" if record.contract else "",
    ]
    return "; ".join(field for field in fields if field)


def _described(record: VersionRecord) -> str:
    contract, beside = record.contract, record.path.parent / "contract.toml"
    if contract:
        return (
            f"{contract.input_width}x{contract.input_height} {_preparation(contract)}, {len(contract.labels)} labels, "
            f"score > {contract.lowest_threshold:g}, {_overlaps(contract)}, at most {contract.max_detections}"
        )
    return f"described by {beside}" if beside.is_file() else "no contract in it or beside it"


def _preparation(contract: Contract) -> str:
    plain = "" if contract.antialias else " without antialias"
    return f"{contract.resize}{plain}{' letterbox' if contract.resize_mode == 'letterbox' else ''}"


def _overlaps(contract: Contract) -> str:
    if contract.nms == "none":
        return "no NMS"
    return f"NMS {contract.nms_iou:g}{' among all classes' if contract.nms == 'agnostic' else ''}"


@app.command()
def verify(
    name: Name,
    *,
    server: Server = None,
    images: Annotated[Path | None, typer.Option(help="A folder of photos to compare on. Default: noise.")] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The model that the version was exported from.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="The number of the version. Default: the newest.")] = None,
    models: Models = Path("models"),
    trust_model_code: Annotated[
        bool, typer.Option("--trust-model-code", help="Run code in the source. Only for files of someone you trust.")
    ] = False,
    modules: Modules = None,
) -> None:
    """Load a version as TF Serving does, and compare its detections on the same images.

    With --source, the version is compared with the trained model, which runs in this process with NumPy before and
    after it. With --server, the version runs on that server, otherwise in this process. The exit status is 1 if boxes
    or scores differ by more than 1e-4, or if a detection is missing; 2 if the boxes cannot be boxes.
    """
    model_folder(models, name)
    records = [record for record in list_versions(models, name) if record.enabled and version in {None, record.number}]
    if not records or records[0].contract is None:
        raise ExportError(
            f"{models / name} has no such version, or the version has no contract: name another version, or export the "
            "model again."
        )
    record, contract = records[0], records[0].contract
    origin = read_origin(record.path) if source or has_origin(record.path) else None
    trained = None
    if source and origin:
        trained = SourceModel(source, origin, trust_model_code=trust_model_code, modules=modules or ())
    tensorflow.prepare()
    from exporter.comparing import comparison  # noqa: PLC0415 - it imports TensorFlow
    from exporter.versions.verify import verify as load  # noqa: PLC0415 - it imports TensorFlow

    load(record.path, contract)
    photos = comparison.photos(contract, images)
    if origin:
        comparison.check_version_boxes(record.path, origin.description, photos)
    if server is None and trained is None:
        typer.echo(f"{record.path} loads and detects.")
        return
    result = comparison.compare_version(record.path, contract, photos, target=server, source=trained)
    typer.echo(
        f"{result.images} images, {result.detections} detections; "
        f"largest difference of a box edge {result.largest_box:.1e}, of a score {result.largest_score:.1e}; "
        f"other detections in {result.others} images"
    )
    if not result.within(LARGEST_DIFFERENCE):
        raise typer.Exit(1)


@app.command()
def rollback(name: Name, version: Number, *, models: Models = Path("models")) -> None:
    """Make a version the newest. Newer versions are disabled, and their numbers are never used again."""
    disabled = roll_back(model_folder(models, name), version)
    typer.echo(f"{name} {version} is the newest; disabled: {', '.join(map(str, disabled)) or 'none'}")


@app.command("remove")
def remove_command(name: Name, version: Number, *, models: Models = Path("models")) -> None:
    """Delete a version that is not the newest."""
    remove(model_folder(models, name), version)
    typer.echo(f"{name} {version} is removed")
