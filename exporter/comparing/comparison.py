"""Compare a version's detections with those of its source, or in process with those on a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.comparing.differences import Comparison, compare, rows
from exporter.comparing.served import served_version
from exporter.comparing.source import SourceModel
from exporter.errors import ExportError
from exporter.graph.box_checks import check_boxes
from exporter.graph.sample_photos import read_photos
from exporter.versions.verify import SessionModel
from serving.boxes.decode import prepare
from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.description import Description

_ROWS = 8


def compare_version(
    folder: Path, contract: Contract, images: NDArray[np.uint8], *, target: str | None, source: SourceModel | None
) -> Comparison:
    """Compare the detections of a version with a reference, on the same images.

    Args:
        folder: the folder of the version.
        contract: the contract of the version.
        images: uint8 (M, H, W, 3), RGB, of the contract's input size.
        target: gRPC address of the server that runs the version; None runs it in process.
        source: the reference: the trained model. None takes the version in process as the reference.

    Raises ExportError if the server does not answer or refuses the version, or if neither side has a detection, since
    the comparison would then say nothing.
    """
    if target is None:
        tested = _detect_in_process(folder, images)
    else:
        with served_version(target, contract.name, int(folder.name)) as detect:
            tested = _in_batches(detect, images)
    reference = _detect_in_process(folder, images) if source is None else _in_batches(source.detect, images)
    comparison = compare(reference, tested, contract)
    if not comparison.detections and not comparison.others:
        raise ExportError(
            f"Nothing was found in the {comparison.images} images, so there was nothing to compare: "
            "name with --images a folder of photos in which the model finds something."
        )
    return comparison


def photos(contract: Contract, folder: Path | None) -> NDArray[np.uint8]:
    """Read the photos of a folder (see `read_photos`), or make 8 images of noise with a fixed seed if it is None.

    Returns uint8 (M, H, W, 3), RGB, of the contract's input size. Raises ExportError if the folder has no photo.
    """
    if folder is not None:
        return read_photos(contract, folder)
    size = (_ROWS, contract.input_height, contract.input_width, 3)
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def check_version_boxes(folder: Path, description: Description, images: NDArray[np.uint8]) -> None:
    """Check the boxes of a version's raw outputs; see `check_boxes`. `images` are as for `compare_version`."""
    with SessionModel(folder) as model:
        rows = model.fixed_rows("serving_default") or min(len(images), _ROWS)
        filled = np.resize(images, (rows, *images.shape[1:]))  # repeats the images where there are too few
        check_boxes([model.predict("serving_default", prepare(filled, description.input))], description)


def _detect_in_process(folder: Path, images: NDArray[np.uint8]) -> list[Detections]:
    with SessionModel(folder) as model:
        return _in_batches(lambda batch: rows(model.predict("detect", batch)), images)


def _in_batches(detect: Callable[[NDArray[np.uint8]], list[Detections]], images: NDArray[np.uint8]) -> list[Detections]:
    batches = (images[start : start + _ROWS] for start in range(0, len(images), _ROWS))
    return [detections for batch in batches for detections in detect(batch)]
