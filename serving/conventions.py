"""Conventions: what the raw outputs of a model mean. A description names one of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from serving.contract import FrozenModel

BoxOrder = Literal["yxyx", "xyxy", "cxcywh", "xywh"]
"""Order of a box's four numbers.

`yxyx`: ymin, xmin, ymax, xmax. `xyxy`: xmin, ymin, xmax, ymax. `cxcywh`: centre x, centre y, width, height.
`xywh`: xmin, ymin, width, height.
"""

BoxUnits = Literal["normalised", "pixels"]
"""Units of a box: fractions of the model's input, or pixels of it."""

TF_OBJECT_DETECTION: Final = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


class _OneTensor(FrozenModel):
    """A convention with a single output, `tensor`."""

    tensor: str

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the names of the output tensors."""
        return (self.tensor,)


class DescribedBoxes(FrozenModel):
    """A convention of decoded boxes, which come in any order and unit.

    With `box_units` `pixels`, boxes are in pixels of the model's input. A class or a class column of the model is a
    label id minus `label_offset`.
    """

    box_order: BoxOrder = "yxyx"
    box_units: BoxUnits = "normalised"
    label_offset: int = 0


class _Yolo(_OneTensor, DescribedBoxes):
    """What YOLO's conventions share. `best_class_only` keeps a box for its best class alone, as their programs do."""

    box_order: BoxOrder = "cxcywh"
    best_class_only: bool = True


class SsdRaw(_OneTensor):
    """Raw SSD output (N, P, 4 + C + 8), as rykov8/ssd_keras writes it.

    The last axis holds 4 offsets, C class scores (column 0 is the background), the prior (xmin, ymin, xmax, ymax,
    normalised) and 4 variances. `legacy_cy_width` decodes the y of the centre with the prior's width instead of its
    height; ssd_keras does so by mistake. `best_class_only` keeps a prior for its best class alone, the background left
    aside.
    """

    convention: Literal["ssd_raw"]
    legacy_cy_width: bool = False
    best_class_only: bool = False


class TfObjectDetection(FrozenModel):
    """The four outputs of the TF Object Detection API. `detection_classes` holds label id minus `label_offset`."""

    convention: Literal["tf_object_detection"]
    label_offset: int = 0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the names of the output tensors."""
        return TF_OBJECT_DETECTION


class BoxesScoresLabels(DescribedBoxes):
    """Outputs of decoded boxes (N, P, 4), scores (N, P) and labels (N, P).

    Padding has a score of 0 or a label that the contract does not contain.
    """

    convention: Literal["boxes_scores_labels"]
    boxes: str = "boxes"
    scores: str = "scores"
    labels: str = "labels"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the names of the output tensors."""
        return (self.boxes, self.scores, self.labels)


class BoxesClassScores(DescribedBoxes):
    """Outputs of decoded boxes (N, P, 4) and a score of each class (N, P, C).

    `activation` is what makes probabilities of the scores: `none` if they are that already. With `background` `first`
    or `last`, the scores have one more column there: the background, or "no object". The softmax includes it. The first
    other column is the label with id `label_offset`. `best_class_only` keeps a box for its best class alone, the
    background left aside.
    """

    convention: Literal["boxes_class_scores"]
    boxes: str = "boxes"
    scores: str = "scores"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    background: Literal["none", "first", "last"] = "none"
    best_class_only: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the names of the output tensors."""
        return (self.boxes, self.scores)


class YoloRaw(_Yolo):
    """Decoded YOLO output (N, P, 4 + 1 + C), as YOLOv5 and YOLOX write it: box, objectness and C class scores.

    The score of a detection is objectness times class score.
    """

    convention: Literal["yolo_raw", "yolo_v5"]


class YoloV8(_Yolo):
    """Decoded YOLO output (N, 4 + C, P), as Ultralytics writes it from YOLOv8 on: box and C class scores.

    `boxes_axis` is the axis of the P boxes: 2, or 1 for the transpose (N, P, 4 + C). None tells it by the shape, since
    the contract knows C; that fails if P is 4 + C too.
    """

    convention: Literal["yolo_v8"]
    boxes_axis: Literal[1, 2] | None = None


class EndToEnd(_OneTensor, DescribedBoxes):
    """Selected detections (N, K, 6), as YOLOv10 and Ultralytics' exports with NMS write them: box, score, class.

    Padding has a score of 0 or a class that the contract does not contain.
    """

    convention: Literal["end_to_end"]
    box_order: BoxOrder = "xyxy"


Output = Annotated[
    SsdRaw | TfObjectDetection | BoxesScoresLabels | BoxesClassScores | YoloRaw | YoloV8 | EndToEnd,
    Field(discriminator="convention"),
]
