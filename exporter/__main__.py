"""The export commands: `python -m exporter`. TensorFlow is imported only when an export begins."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from exporter.graph import tensorflow
from exporter.models.keras_export import export_keras
from exporter.models.savedmodel_export import export_savedmodel
from exporter.models.ssd300_export import Ssd300Options, export_ssd300
from exporter.models_command import app as models_app
from exporter.models_command import with_default_command
from exporter.versions.folders import complete_versions, model_folder
from serving.errors import ShelflineError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(models_app, name="models")

Models = Annotated[Path, typer.Option(help="The folder that the model server serves from.")]
Version = Annotated[
    int | None, typer.Option(min=1, max=2**63 - 1, help="The version's number; by default the next free one.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do all but write the version.")]
ContractFile = Annotated[Path, typer.Option(help="A TOML file: what the model takes and what its answers mean.")]
OtherName = Annotated[str | None, typer.Option(help="The name it is served by, in place of the contract's.")]
TrustModelCode = Annotated[bool, typer.Option("--trust-model-code", help="Run code that the model file holds.")]


class Resize(StrEnum):
    """The resize filters that a contract may name; both are Pillow's."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"


@app.callback()
def _exporter() -> None:
    """Turn a trained Keras detector into a versioned model that describes itself."""


@app.command()
def demo(
    *,
    models: Models = Path("models"),
    name: Annotated[str, typer.Option(help="The name that the model is served by.")] = "default",
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing where a version exists.")] = False,
) -> None:
    """Export the default model: NanoDet-g, trained on COCO."""
    model = model_folder(models, name)
    if if_missing and (versions := complete_versions(model)):
        typer.echo(versions[max(versions)])
        return
    tensorflow.prepare()
    from exporter.models.demo import export_demo  # noqa: PLC0415 - it imports TensorFlow, which takes seconds

    typer.echo(export_demo(model))


@app.command("ssd300")
def ssd300(
    weights: Annotated[Path, typer.Argument(help="A weight file: .hdf5, .h5, .weights.h5 or .keras.")],
    *,
    name: Annotated[str, typer.Option(help="The name that the model is served by.")],
    labels: Annotated[Path, typer.Option(help="A name a line, the first for the background.")],
    classes: Annotated[int | None, typer.Option(help="Classes, background included; told from the file.")] = None,
    score_threshold: Annotated[float, typer.Option(help="A detection's score is above it.")] = 0.01,
    nms_iou: Annotated[float, typer.Option(help="Of two boxes of a class that overlap more, one stays.")] = 0.45,
    top_k: Annotated[int, typer.Option(help="The most detections of an image.")] = 200,
    resize: Annotated[Resize, typer.Option(help="The filter that clients resize with.")] = Resize.BILINEAR,
    legacy_cy_width: Annotated[
        bool, typer.Option("--legacy-cy-width", help="For weights trained against ssd_keras' decoding defect.")
    ] = False,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Export SSD300 with trained weights."""
    options = Ssd300Options(labels, classes, score_threshold, nms_iou, top_k, resize.value, legacy_cy_width)
    model = model_folder(models, name)
    _show(export_ssd300(weights, model, options, version=version, dry_run=dry_run), dry_run=dry_run)


@app.command()
def keras(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="A whole model: .keras, or .h5 of model.save.")],
    *,
    contract: ContractFile,
    name: OtherName = None,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
    trust_model_code: TrustModelCode = False,
) -> None:
    """Export any Keras detector whose outputs a contract describes."""
    path = export_keras(
        source, contract, models, name=name, version=version, dry_run=dry_run, trust_model_code=trust_model_code
    )
    _show(path, dry_run=dry_run)


@app.command()
def savedmodel(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with saved_model.pb.")],
    *,
    contract: ContractFile,
    name: OtherName = None,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
    trust_model_code: TrustModelCode = False,
) -> None:
    """Describe and wrap an existing SavedModel."""
    path = export_savedmodel(
        source, contract, models, name=name, version=version, dry_run=dry_run, trust_model_code=trust_model_code
    )
    _show(path, dry_run=dry_run)


def _show(path: Path, *, dry_run: bool) -> None:
    typer.echo(f"{path} (dry run: nothing was written)" if dry_run else path)


def main() -> None:
    """Run a command. A ShelflineError is printed in one line, and the exit status is 2.

    SIGTERM raises SystemExit, so that the clean-up runs and no incomplete version is left.
    """
    signal.signal(signal.SIGTERM, _end_in_order)
    try:
        arguments = with_default_command(sys.argv[1:])
        app(arguments, prog_name="shelfline" if arguments[:1] == ["models"] else "shelfline export")
    except ShelflineError as error:
        sys.exit(_complain(str(error)))


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _complain(text: str) -> int:
    typer.echo(f"Error: {' '.join(text.split())}", err=True)
    return 2


if __name__ == "__main__":
    main()
