"""Export a YOLO detector as Ultralytics or YOLOv5 wrote it, without a contract of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from exporter.errors import ExportError
from exporter.models.described_export import open_savedmodel, savedmodel_digest, signature_model
from exporter.models.yolo.layout import tell_output
from exporter.models.yolo.metadata import YoloMetadata, read_metadata
from exporter.versions.contracts import make_contract
from exporter.versions.folders import named_folder, require_free
from exporter.versions.origin import Origin
from exporter.weights.other_formats import refuse_other_formats
from serving.boxes.decode import prepare
from serving.conventions import EndToEnd, YoloRaw
from serving.description import Description, RawInput

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel


@dataclass(frozen=True)
class YoloOptions:
    """How detections are selected; None is what the model's own program does by default.

    `labels` is a file of names, which replace those that come with the model.
    """

    score_threshold: float | None = None
    nms_iou: float | None = None
    max_detections: int | None = None
    labels: Path | None = None


_OF_ULTRALYTICS: Final = {"score_threshold": 0.25, "nms_iou": 0.7, "max_detections": 300}
"""What Ultralytics' `predict` does by default."""

_OF_YOLOV5: Final = {"score_threshold": 0.25, "nms_iou": 0.45, "max_detections": 1000}
"""What YOLOv5's `detect.py` does by default."""


def export_yolo(
    source: Path,
    models: Path,
    options: YoloOptions,
    *,
    name: str | None = None,
    version: int | None = None,
    dry_run: bool = False,
    images: Path | None = None,
    trust_model_code: bool = False,
) -> Path:
    """Export the folder of a SavedModel with Ultralytics' `metadata.yaml` as a version below `models`.

    Without `name`, the model gets the folder's, less `_saved_model`. Layout and units are told from the model's answers
    for the photos in the folder `images`, or for made-up images. Without `version`, the version gets the next free
    number. Returns the folder of the version. Raises ExportError if the model is no detector of these families, or if
    its layout cannot be told, and ContractError for labels that cannot be read; no files are left then.
    """
    refuse_other_formats(source, "yolo")
    source_digest = savedmodel_digest(source)
    metadata = read_metadata(source, options.labels)
    model = named_folder(models, name, source)
    require_free(model, version)
    loaded = open_savedmodel(source, "serving_default", trust_model_code=trust_model_code)
    if len(loaded.inputs) != 1:
        raise ExportError(f"{source} takes {', '.join(sorted(loaded.inputs))}: a YOLO takes nothing but images.")
    (tensor,) = loaded.inputs
    raw_model = signature_model(loaded, RawInput(tensor=tensor), source)
    description = describe_yolo(raw_model, tensor, metadata, options, images=images)
    from exporter.graph.wrapping import export_wrapped  # noqa: PLC0415 - it imports TensorFlow

    origin = Origin(kind="savedmodel", description=description.named(model.name, source_digest))
    return export_wrapped(raw_model, origin, model, version=version, dry_run=dry_run, images=images)


def describe_yolo(
    raw_model: RawModel, tensor: str, metadata: YoloMetadata, options: YoloOptions, *, images: Path | None
) -> Description:
    """Describe a YOLO with the input `tensor`, from its metadata and its answers for sample images.

    Photos are letterboxed, and detections selected, as the model's own program does. Raises ExportError if the model is
    no such detector, or if its layout or its units cannot be told.
    """
    from exporter.graph.sample_photos import sample_photos  # noqa: PLC0415 - beside TensorFlow's modules

    raw_input, (height, width) = _input(raw_model, tensor, metadata)
    given = {
        "score_threshold": options.score_threshold,
        "nms_iou": options.nms_iou,
        "max_detections": options.max_detections,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    contract = make_contract(
        name="yolo",
        input_height=height,
        input_width=width,
        resize="bilinear",
        antialias=False,
        resize_mode="letterbox",
        clip="after",
        labels=metadata.labels,
        weights_sha256="0" * 64,
        provenance=metadata.provenance,
        **{**_OF_ULTRALYTICS, **chosen},
    )
    samples = prepare(sample_photos(contract, images), raw_input)
    output = tell_output(list(raw_model.answers(samples)), metadata, (height, width))
    if isinstance(output, EndToEnd):
        contract = contract.model_copy(update={"nms": "none"})
    elif isinstance(output, YoloRaw):
        contract = contract.model_copy(update={**_OF_YOLOV5, **chosen})
    return Description(contract=contract, input=raw_input, output=output)


def _input(raw_model: RawModel, tensor: str, metadata: YoloMetadata) -> tuple[RawInput, tuple[int, int]]:
    """Return the input of a YOLO and its (height, width). Raises ExportError if the model takes something else."""
    shape = raw_model.shape
    if len(shape) != 4 or 3 not in {shape[1], shape[3]}:
        raise ExportError(f"The model takes {shape}: a detector takes photos of three channels, (N, H, W, 3).")
    if raw_model.dtype is not None and raw_model.dtype.name != "float32":
        raise ExportError(f"The model takes {raw_model.dtype.name}: export it again in float32, without int8 and half.")
    is_first = shape[3] != 3
    height, width = shape[2:] if is_first else shape[1:3]
    size = metadata.size
    if size is None and height and width:
        size = (height, width)
    if size is None:
        raise ExportError(
            f"The model takes images of any size, and {metadata.source} does not say the size of the training: export "
            "the model again with dynamic=False, or write `imgsz: [640, 640]`, height and width, into metadata.yaml."
        )
    if height not in {None, size[0]} or width not in {None, size[1]}:
        raise ExportError(
            f"The model takes images of {width} x {height} pixels, but imgsz in {metadata.source} is {list(size)}: "
            "take the file that was written with the model."
        )
    layout: Literal["nchw", "nhwc"] = "nchw" if is_first else "nhwc"
    return RawInput(tensor=tensor, layout=layout, scale=(255.0, 255.0, 255.0)), size
