"""The recipes of docs/export.md, run as they stand there, on small models that have the form of the real ones."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.graph.sample_photos import made_up_photos
from serving.contract import Contract
from tests.support import small_heads
from tests.support.export_command import export_command
from tests.support.raw_models import write_simple_save, write_zoo_model
from tests.support.yolo_models import write_yolo
from tests.unit.exporter.compare import rows

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "export.md").read_text("utf-8")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2

PIPELINE = "model { ssd { image_resizer { fixed_shape_resizer { height: 64 width: 64 } } } }"
LABEL_MAP = 'item { id: 1 name: "tea" }\nitem { id: 2 name: "rice" }\n'


@dataclass(frozen=True)
class Recipe:
    """A section of the page: what has to be there before, and what the user has to fill in, with the values.

    With `rules`, the user also gives KerasHub's rules of selection.
    """

    section: str
    prepare: Callable[[Path], Any] = lambda _folder: None
    fill_in: dict[str, str] = field(default_factory=dict)
    rules: bool = False


def zoo(folder: Path) -> None:
    """What an archive of the TF2 zoo has in it."""
    write_zoo_model(folder / "efficientdet_d0" / "saved_model")
    (folder / "efficientdet_d0" / "pipeline.config").write_text(PIPELINE)
    (folder / "efficientdet_d0" / "label_map.pbtxt").write_text(LABEL_MAP)


def simple_save(folder: Path) -> None:
    """A file of TensorFlow 1."""
    write_simple_save(folder / "ssd" / "1")


def own_keras(folder: Path) -> None:
    """A whole Keras model."""
    small_heads.decoded().save(folder / "shelf.keras")


def own_savedmodel(folder: Path) -> None:
    """The same as a SavedModel, with photos."""
    small_heads.decoded().export(folder / "detector", verbose=False)
    shutil.copytree(ROOT / "samples", folder / "photos")


def ultralytics(folder: Path) -> None:
    """What Ultralytics writes, and the file of its training that has the names."""
    write_yolo(folder / "best_saved_model")
    (folder / "data.yaml").write_text("names: [tea, rice, salt]")


STRETCH = {"resize_mode": '"stretch"'}
KERASHUB = Recipe("KerasHub", fill_in=STRETCH, rules=True)
RECIPES = [
    Recipe("Look at it first", own_savedmodel, STRETCH),
    Recipe("Ultralytics and YOLOv5", ultralytics),
    Recipe("TF2 Object Detection zoo", zoo),
    Recipe("TensorFlow 1", simple_save, {**STRETCH, "scale": "[255, 255, 255]"}),
    Recipe("Your own Keras model", own_keras, STRETCH),
]


def section_of(title: str) -> str:
    """The text of a section."""
    return DOCUMENT.partition(f"### {title}\n")[2].partition("\n##")[0]


def steps_of(title: str) -> list[str]:
    """The Python blocks and the commands of a section, in their order. Examples of output are none."""
    step = re.compile(r"^```python\n(.*?)^```$|^    (shelfline export [^\n]*)$", re.DOTALL | re.MULTILINE)
    return [python or command for python, command in step.findall(section_of(title))]


def run(command: str) -> str:
    """Run a command as a shell would; return what it printed."""
    words = shlex.split(command, comments=True)
    target = words[words.index(">") + 1] if ">" in words else None
    done = export_command(*words[2 : words.index(">") if target else None])
    assert done.returncode == 0, done.stderr
    if target:
        Path(target).write_text(done.stdout)
    return done.stdout


def read_contract(version: Path) -> Contract:
    """The contract of a version."""
    return Contract.from_json((version / "assets.extra" / "contract.json").read_text())


def unknown_keys(draft: str) -> set[str]:
    """The keys of a draft that were not told."""
    return set(re.findall(r'^(\w+) = "\?"$', draft, re.MULTILINE))


def follow(recipe: Recipe, folder: Path, detectors: Sequence[Any] = ()) -> list[Path]:
    """Do what a recipe says in a folder; return the versions that it made.

    `detectors` are what its Python blocks call `detector`, one for each block.
    """
    (folder / "labels.txt").write_text("tea\nrice\n")
    recipe.prepare(folder)
    made, drafts, left = [], [], list(detectors)
    with chdir(folder):
        for step in steps_of(recipe.section):
            if not step.startswith("shelfline "):
                exec(compile(step, recipe.section, "exec"), {"detector": left.pop(0)})  # noqa: S102 - the page's own text
            elif " inspect " in step:
                draft = run(step)
                drafts.append(unknown_keys(draft))
                for key, value in recipe.fill_in.items():
                    draft = re.sub(rf'^{key} = "\?"$', f"{key} = {value}", draft, flags=re.MULTILINE)
                if recipe.rules:
                    draft = (
                        draft.replace('nms = "per_class"', 'clip = "after"\nnms = "agnostic"')
                        + "best_class_only = true\n"
                    )
                Path("contract.toml").write_text(draft)
            else:
                made.append(folder / run(step).strip())
    assert made
    assert drafts or not recipe.fill_in
    assert all(unknown == set(recipe.fill_in) for unknown in drafts), drafts
    assert not left
    return made


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.section)
def test_a_recipe(recipe: Recipe, tmp_path: Path) -> None:
    """Its commands make versions, of the draft as it is where all was told."""
    versions = follow(recipe, tmp_path)

    assert all((version / "saved_model.pb").is_file() for version in versions)


def agnostic(boxes: NDArray[np.float64], logits: NDArray[np.float64]) -> list[tuple[int, float, NDArray[np.float64]]]:
    """Class, score and box [ymin, xmin, ymax, xmax] of the detections that KerasHub's NonMaxSuppression keeps.

    A box counts for its best class, and overlaps of more than half are suppressed among all classes.
    """
    scores = 1 / (1 + np.exp(-logits))
    kept: list[int] = []
    for number in np.argsort(-scores.max(-1), kind="stable"):
        if scores[number].max() > 0.25 and all(iou(boxes[number], boxes[other]) <= 0.5 for other in kept):
            kept.append(int(number))
    return [(int(scores[number].argmax()), float(scores[number].max()), boxes[number]) for number in kept]


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - sides.prod()
    return float(sides.prod() / area)


def test_kerashub_s_own_detections(tmp_path: Path) -> None:
    """Both of KerasHub's recipes; with its rules the versions answer what the detectors themselves would."""
    import keras

    from exporter.versions.verify import SessionModel

    detr, retinanet = small_heads.detr(), small_heads.retinanet()
    versions = follow(KERASHUB, tmp_path, [detr, retinanet])
    photos = made_up_photos(read_contract(versions[0]))
    x = photos.astype(np.float32)
    answers = detr(x), retinanet(x)
    anchors = np.asarray(retinanet.anchor_generator(x)["P3"])
    corners = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors, answers[1]["bbox_regression"], "yxyx", "yxyx", "center_xywh", image_shape=(64, 64, 3)
    )
    cx, cy, w, h = np.moveaxis(np.asarray(answers[0]["pred_boxes"], np.float64) * 64, -1, 0)
    expected = [
        (np.stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], -1), np.asarray(answers[0]["logits"], np.float64)),
        (np.asarray(corners, np.float64), np.asarray(answers[1]["cls_logits"], np.float64)),
    ]

    for version, (boxes, logits) in zip(versions, expected, strict=True):
        with SessionModel(version) as model:
            answered = rows(model.predict("detect", photos))
        for photo in range(len(photos)):
            own = agnostic(boxes[photo], logits[photo])
            assert len(own) == len(answered[photo]) > 3
            assert [number for number, _, _ in own] == answered[photo].classes.tolist()
            np.testing.assert_allclose([score for _, score, _ in own], answered[photo].scores, atol=1e-3)
            own_boxes = np.clip([box for _, _, box in own], 0, 64)
            np.testing.assert_allclose(own_boxes, answered[photo].boxes * 64, atol=0.5)
