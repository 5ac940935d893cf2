"""The real trained SSD and whatever else lies beside the project, and the TOML file that describes such a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections
from serving.description import Description
from tests.support.machine import do_without

SHARED = Path(__file__).parents[3] / "shared"
MODEL = SHARED / "models" / "ssd-mobilenet-v1-coco"
PHOTOS = SHARED / "images"
REFERENCE = SHARED / "models" / "nanodet-g-coco" / "reference.npz"  # of another model: what its network answers


def need_shared() -> None:
    """Do without the test where the folder is not beside the project."""
    for path in (MODEL, PHOTOS, REFERENCE):
        if not path.exists():
            do_without(f"{path} is not there")


def contract_toml(
    name: str = "default",
    *,
    labels: Path | str = MODEL / "labels.txt",
    score_threshold: float = 0.3,
    nms_iou: float = 0.6,
    max_detections: int = 100,
) -> str:
    """What a user writes about an SSD in the course's wire contract; by default about the real one."""
    return f"""
name = "{name}"
input_height = 300
input_width = 300
score_threshold = {score_threshold}
nms_iou = {nms_iou}
max_detections = {max_detections}
labels = "{labels}"

[input]
channels = "bgr"
mean = [103.939, 116.779, 123.68]

[output]
convention = "ssd_raw"
tensor = "concat_3:0"
"""


class InProcess:
    """The real SSD in this process, preprocessed and decoded as its description says."""

    def __init__(self, description: Description) -> None:
        from serving.server.loading.saved_model import LoadedModel

        self.description = description
        self._model = LoadedModel(MODEL / "1")

    def detect(self, images: NDArray[np.uint8]) -> list[Detections]:
        """What it finds in each row of `images`, uint8 (N, 300, 300, 3) RGB."""
        described = self.description
        signature = self._model.signatures[described.signature]
        prepared = prepare(images, described.input)
        fetches = [signature.outputs[alias].name for alias in described.outputs]
        outputs = self._model.run({signature.inputs[described.input.tensor].name: prepared}, fetches)
        return decode(dict(zip(described.outputs, map(np.asarray, outputs), strict=True)), described)
