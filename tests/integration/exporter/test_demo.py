from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.boxes.detections import Detections
from serving.contract import Contract
from tests.support.export_command import run_export
from tests.unit.exporter import plain
from tests.unit.exporter.compare import assert_same, rows

if TYPE_CHECKING:
    from exporter.versions.verify import SessionModel

ROOT = Path(__file__).parents[3]
NAMES = ("astronaut", "coffee", "chelsea", "grace-hopper")


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    """The four sample photos, as a client sends them."""
    images = [Image.open(ROOT / "samples" / f"photo-{name}.jpg").convert("RGB") for name in NAMES]
    return np.stack([np.asarray(image.resize((416, 416), Image.Resampling.BILINEAR)) for image in images])


@pytest.fixture(scope="module")
def detections(demo_model: SessionModel, photos: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What the default model finds in them."""
    return demo_model.predict("detect", photos)


def test_it_finds_what_is_in_the_photos(detections: dict[str, NDArray[Any]]) -> None:
    """A real model on real photos; a cat for a cat."""
    from exporter.models.demo import demo_contract

    labels = demo_contract("default").label_by_id
    seen = {
        name: {labels[c].name for c in classes[:count]}
        for name, classes, count in zip(
            NAMES, detections["detection_classes"], detections["num_detections"], strict=True
        )
    }

    assert "person" in seen["astronaut"]
    assert "cup" in seen["coffee"]
    assert "cat" in seen["chelsea"]
    assert {"person", "tie"} <= seen["grace-hopper"]


@pytest.mark.process
def test_detect_is_plain_nms_of_the_raw_output(
    demo_model: SessionModel, photos: NDArray[np.uint8], detections: dict[str, NDArray[Any]]
) -> None:
    """The two ways to use the model find the same boxes."""
    from exporter.models import nanodet

    images = photos.astype(np.float32)[..., ::-1] - np.array(nanodet.MEAN_BGR, np.float32)
    raw = demo_model.predict("serving_default", images / np.array(nanodet.STD_BGR, np.float32))

    expected = []
    for boxes, scores in zip(raw["boxes"], raw["scores"], strict=True):
        kept = plain.suppress(boxes, scores, threshold=0.35, nms_iou=0.6, limit=100)
        classes = np.array([detection.class_column for detection in kept])
        expected.append(Detections(np.array([k.box for k in kept]), np.array([k.score for k in kept]), classes))
    assert_same(expected, rows(detections), threshold=0.35)


def test_a_batch_finds_what_each_image_alone_does(
    demo_model: SessionModel, photos: NDArray[np.uint8], detections: dict[str, NDArray[Any]]
) -> None:
    """Within the rounding of float32 sums, whose order depends on the batch."""
    alone = [rows(demo_model.predict("detect", photo[None]))[0] for photo in photos]

    assert_same(rows(detections), alone, threshold=0.35)


def test_it_describes_itself_in_every_row(demo_model: SessionModel) -> None:
    """One copy a row, so that server batching can split it."""
    from exporter.models.demo import demo_contract

    described = demo_model.predict("describe", np.array([7, -1, 0], np.int32))["contract"]

    assert [demo_contract("default")] * 3 == [Contract.from_json(text) for text in described]


def test_the_signatures_are_those_of_the_design(demo_model: SessionModel) -> None:
    """Their inputs and outputs by name, with the batch left open."""
    shapes = {
        name: (
            {key: [d.size for d in entry.tensor_shape.dim] for key, entry in definition.inputs.items()},
            set(definition.outputs),
        )
        for name, definition in demo_model.signatures.items()
    }

    detections = {"detection_boxes", "detection_scores", "detection_classes", "num_detections"}
    assert {
        "serving_default": ({"images": [-1, 416, 416, 3]}, {"boxes", "scores"}),
        "detect": ({"images": [-1, 416, 416, 3]}, detections),
        "describe": ({"query": [-1]}, {"contract"}),
    } == shapes


@pytest.mark.process
def test_the_command_prints_the_path_and_if_missing_keeps_it(tmp_path: Path) -> None:
    """One line on standard output, nothing on standard error, and the second time nothing is written."""
    first = run_export("demo", "--models", str(tmp_path), "--name", "shop")
    second = run_export("demo", "--models", str(tmp_path), "--name", "shop", "--if-missing")

    assert (0, f"{tmp_path / 'shop' / '1'}\n", "") == (first.returncode, first.stdout, first.stderr)
    assert (0, first.stdout, "") == (second.returncode, second.stdout, second.stderr)
    assert [tmp_path / "shop" / "1"] == list((tmp_path / "shop").iterdir())


def test_if_missing_imports_no_tensorflow(demo_folder: Path) -> None:
    """It stands at the start of `make detect`, where it must not cost seconds."""
    code = (
        "import sys; from exporter.__main__ import app\n"
        f"app(['demo', '--models', {str(demo_folder.parents[1])!r}, '--if-missing'], standalone_mode=False)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (0, f"{demo_folder}\n") == (done.returncode, done.stdout)


@pytest.mark.process
def test_a_folder_that_cannot_be_written_is_one_line_and_status_2(tmp_path: Path) -> None:
    """And nothing is written."""
    (tmp_path / "models").write_text("no folder")

    done = run_export("demo", "--models", str(tmp_path / "models"))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "Cannot make the folder" in done.stderr
