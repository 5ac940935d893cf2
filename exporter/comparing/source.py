"""Run a version's source model in process, with preprocessing and decoding in NumPy instead of the exported graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.described_export import load_keras, load_savedmodel, savedmodel_digest
from exporter.models.onnx_files.onnx_model import read_onnx, runtime_model
from exporter.models.ssd300_export import load_ssd300
from exporter.versions.origin import Origin
from exporter.weights.stored_weights import digest
from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel


class SourceModel:
    """A trained model as it was before the export.

    The constructor raises ExportError if `path` is not the file that the version was exported from, or does not load.
    """

    def __init__(
        self, path: Path, origin: Origin, *, trust_model_code: bool = False, modules: Sequence[str] = ()
    ) -> None:
        self._description = origin.description
        _require_same_file(path, origin)
        self._model = _load(path, origin, trust_model_code=trust_model_code, modules=modules)

    def detect(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Return the detections of each image; `images` is uint8 (N, H, W, 3), RGB, of the contract's input size."""
        answers = self._model.answers(prepare(images, self._description.input))
        return [row for answer in answers for row in decode(answer, self._description)]


def _require_same_file(path: Path, origin: Origin) -> None:
    """Raise ExportError if the file's sha256 is not the contract's: another model would differ in any case."""
    if origin.kind == "onnx":
        actual = read_onnx(path).sha256
    else:
        actual = savedmodel_digest(path) if origin.kind == "savedmodel" else digest(path)
    expected = origin.description.contract.weights_sha256
    if actual != expected:
        raise ExportError(
            f"{path} is not what the version was made of: its sha256 is {actual[:12]}..., "
            f"the contract's {expected[:12]}...; name the file that was exported, or export this one."
        )


def _load(path: Path, origin: Origin, *, trust_model_code: bool, modules: Sequence[str]) -> RawModel:
    if modules and origin.kind != "keras":
        raise ExportError("--import is for the code of Keras models: leave it out.")
    if origin.kind == "ssd300":
        return load_ssd300(path)
    if origin.kind == "keras":
        return load_keras(path, origin.description, trust_model_code=trust_model_code, modules=modules)
    if origin.kind == "onnx":
        return runtime_model(read_onnx(path), origin.description.input)
    return load_savedmodel(path, origin.description, trust_model_code=trust_model_code)
