"""The export commands: `python -m exporter`. TensorFlow is imported only when an export begins."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.models.described_export import export_described
from exporter.models.onnx_files.onnx_export import export_onnx
from exporter.models.ssd300_export import Ssd300Options, export_ssd300
from exporter.models.yolo.yolo_export import YoloOptions, export_yolo
from exporter.models_command import Modules, with_default_command
from exporter.models_command import app as models_app
from exporter.versions.folders import complete_versions, model_folder
from serving.errors import ShelflineError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(models_app, name="models")

Models = Annotated[Path, typer.Option(help="The folder that the model server serves.")]
Version = Annotated[
    int | None, typer.Option(min=1, max=2**63 - 1, help="The number of the new version. Default: the next free number.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do everything except writing the version.")]
ContractFile = Annotated[
    Path, typer.Option(help="A TOML file that says what the model takes and what its outputs mean.")
]
OtherName = Annotated[
    str | None, typer.Option(help="The name of the served model, instead of the name in the contract.")
]
SampleImages = Annotated[
    Path | None, typer.Option(help="A folder of photos to check the boxes on. Default: made-up images.")
]
TrustModelCode = Annotated[
    bool, typer.Option("--trust-model-code", help="Run code in the model file. Only for files of someone you trust.")
]


YoloName = Annotated[str | None, typer.Option(help="The name of the served model. Default: the name of the file.")]
YoloLabels = Annotated[
    Path | None, typer.Option(help="A file of names, such as data.yaml, instead of those in the model.")
]
ScoreThreshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Leave out detections with a score of this or less. Default: 0.25.")
]
NmsIou = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Keep one of two boxes of a class with a higher IoU. Default: the model's own."),
]
MaxDetections = Annotated[
    int | None,
    typer.Option(min=1, max=10_000, help="Maximum number of detections per image. Default: the model's own."),
]


@app.callback()
def _exporter() -> None:
    """Turn a trained detector into a versioned model that describes itself."""


@app.command()
def demo(
    *,
    models: Models = Path("models"),
    name: Annotated[str, typer.Option(help="The name of the served model.")] = "default",
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if the model has a version.")] = False,
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
    weights: Annotated[Path, typer.Argument(help="The file of the weights: .hdf5, .h5, .weights.h5 or .keras.")],
    *,
    name: Annotated[str, typer.Option(help="The name of the served model.")],
    labels: Annotated[Path, typer.Option(help="A text file with one name per line, the first for the background.")],
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, background included. Default: read from the weights.")
    ] = None,
    score_threshold: Annotated[float, typer.Option(help="Leave out detections with a score of this or less.")] = 0.01,
    nms_iou: Annotated[float, typer.Option(help="Keep one of two boxes of a class with a higher IoU.")] = 0.45,
    top_k: Annotated[int, typer.Option(help="Maximum number of detections per image.")] = 200,
    resize: Annotated[
        Literal["bilinear", "nearest"], typer.Option(help="The filter that clients resize images with.")
    ] = "bilinear",
    legacy_cy_width: Annotated[
        bool,
        typer.Option(
            "--legacy-cy-width",
            help="Decode as ssd_keras does, with its known defect. For weights that were trained with it.",
        ),
    ] = False,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Export SSD300 with trained weights."""
    options = Ssd300Options(labels, classes, score_threshold, nms_iou, top_k, resize, legacy_cy_width)
    model = model_folder(models, name)
    _show(export_ssd300(weights, model, options, version=version, dry_run=dry_run), dry_run=dry_run)


@app.command("keras", help="Export any Keras detector whose outputs a contract describes.")
@app.command("savedmodel", help="Export any SavedModel of a detector whose outputs a contract describes.")
def described(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="For keras, a .keras file or an .h5 file of model.save; else a SavedModel's folder.",
        ),
    ],
    *,
    contract: ContractFile,
    name: OtherName = None,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
    images: SampleImages = None,
    trust_model_code: TrustModelCode = False,
    modules: Modules = None,
) -> None:
    """Export any detector whose outputs a contract describes."""
    path = export_described(
        "keras" if context.info_name == "keras" else "savedmodel",
        source,
        contract,
        models,
        name=name,
        version=version,
        dry_run=dry_run,
        trust_model_code=trust_model_code,
        modules=modules or (),
        images=images,
    )
    _show(path, dry_run=dry_run)


@app.command()
def inspect(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The folder of a SavedModel, a .keras file or an .h5 file.")
    ],
    *,
    labels: Annotated[Path | None, typer.Option(help="A file with the names of the model's classes.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of photos, or one, to run the model on. Default: made-up images.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    trust_model_code: TrustModelCode = False,
    modules: Modules = None,
) -> None:
    """Say what a model is and what its outputs look like, and print a draft of its contract.toml."""
    from exporter.inspecting.inspection import inspect_model  # noqa: PLC0415 - only this command needs it

    inspection = inspect_model(
        source, labels=labels, images=images, trust_model_code=trust_model_code, modules=modules or ()
    )
    text = json.dumps(inspection.document(), ensure_ascii=False, indent=2) + "\n" if as_json else inspection.draft
    typer.echo(text, nl=False)


@app.command()
def yolo(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the SavedModel that Ultralytics or YOLOv5 wrote.")
    ],
    *,
    name: YoloName = None,
    labels: YoloLabels = None,
    score_threshold: ScoreThreshold = None,
    nms_iou: NmsIou = None,
    max_detections: MaxDetections = None,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
    images: SampleImages = None,
    trust_model_code: TrustModelCode = False,
) -> None:
    """Export a YOLO that Ultralytics or YOLOv5 wrote as a SavedModel; its metadata.yaml is its contract."""
    path = export_yolo(
        source,
        models,
        YoloOptions(score_threshold, nms_iou, max_detections, labels),
        name=name,
        version=version,
        dry_run=dry_run,
        images=images,
        trust_model_code=trust_model_code,
    )
    _show(path, dry_run=dry_run)


@app.command()
def onnx(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX file.")],
    *,
    contract: Annotated[
        Path | None,
        typer.Option(help="A TOML file that describes the model; a YOLO of Ultralytics or YOLOv5 needs none."),
    ] = None,
    name: YoloName = None,
    labels: YoloLabels = None,
    score_threshold: ScoreThreshold = None,
    nms_iou: NmsIou = None,
    max_detections: MaxDetections = None,
    models: Models = Path("models"),
    version: Version = None,
    dry_run: DryRun = False,
    images: SampleImages = None,
) -> None:
    """Export an ONNX detector. This needs the extra `onnx`."""
    options = YoloOptions(score_threshold, nms_iou, max_detections, labels)
    if contract is not None and options != YoloOptions():
        raise ExportError(
            "The contract has names and thresholds: leave out --contract, or --labels, --score-threshold, --nms-iou "
            "and --max-detections."
        )
    path = export_onnx(
        source,
        models,
        contract or options,
        name=name,
        version=version,
        dry_run=dry_run,
        images=images,
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
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
