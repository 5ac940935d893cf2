"""Export a detector in an ONNX file."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.models.onnx_files.agreement import require_agreement
from exporter.models.onnx_files.onnx_model import OnnxFile, converted_model, read_onnx, runtime_model
from exporter.models.yolo.metadata import metadata_of_properties
from exporter.models.yolo.yolo_export import YoloOptions, describe_yolo
from exporter.versions.contracts import read_contract
from exporter.versions.folders import named_folder, require_free
from exporter.versions.origin import Origin
from exporter.weights.other_formats import refuse_other_formats
from serving.boxes.decode import prepare
from serving.description import Description, RawInput


def export_onnx(
    source: Path,
    models: Path,
    contract: Path | YoloOptions,
    *,
    name: str | None = None,
    version: int | None = None,
    dry_run: bool = False,
    images: Path | None = None,
) -> Path:
    """Export an ONNX file as a version below `models`.

    `contract` is the TOML file of `serving.description.read_description`. A YOLO that Ultralytics or YOLOv5 wrote needs
    none, but options. The converted model is compared with ONNX Runtime on the photos in the folder `images`, or on
    made-up images. Without `version`, the version gets the next free number. Returns the folder of the version. Raises
    ContractError if the TOML file is invalid, ExportError for any other failure; no files are left then.
    """
    refuse_other_formats(source, "onnx")
    file = read_onnx(source)
    if isinstance(contract, Path):
        description, model = read_contract(contract, models, name=name, weights_sha256=file.sha256)
        require_free(model, version)
    else:
        model = named_folder(models, name, source)
        require_free(model, version)
        description = _describe(file, contract, images).named(model.name, file.sha256)
    tensorflow.prepare()
    from exporter.graph.sample_photos import sample_photos  # noqa: PLC0415 - beside TensorFlow's modules
    from exporter.graph.wrapping import export_wrapped  # noqa: PLC0415 - it imports TensorFlow

    size = (description.contract.input_height, description.contract.input_width)
    prepared = prepare(sample_photos(description.contract, images), description.input)
    original = runtime_model(file, description.input)
    converted = converted_model(file, description.input, size)
    try:
        answers = list(converted.answers(prepared))
    except Exception as error:  # TensorFlow raises errors of any type
        reason = str(getattr(error, "message", error)).strip().splitlines()[-1][:300]
        raise ExportError(
            f"The converted model does not run: {reason}: export {source} again with a fixed size, in Ultralytics with "
            "dynamic=False, or as a SavedModel."
        ) from error
    require_agreement(original.answers(prepared), answers, description)
    origin = Origin(kind="onnx", description=description)
    return export_wrapped(converted, origin, model, version=version, dry_run=dry_run, images=images)


def _describe(file: OnnxFile, options: YoloOptions, images: Path | None) -> Description:
    """Describe a YOLO from what it says of itself. Raises ExportError if it says nothing."""
    if "names" not in file.properties and options.labels is None:
        raise ExportError(
            f"{file.path} does not say what it answers: describe it with --contract FILE (see docs/export.md), or, if "
            "it is a YOLO, name its classes with --labels FILE."
        )
    metadata = metadata_of_properties(file.properties, file.path, options.labels)
    if len(file.inputs) != 1:
        raise ExportError(f"{file.path} takes {', '.join(sorted(file.inputs))}: a YOLO takes nothing but images.")
    (tensor,) = file.inputs
    return describe_yolo(runtime_model(file, RawInput(tensor=tensor)), tensor, metadata, options, images=images)
