"""The real trained SSD that lies beside the project, and the TOML file that describes a model of its kind."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared"
MODEL = SHARED / "models" / "ssd-mobilenet-v1-coco"
PHOTOS = SHARED / "images"


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
