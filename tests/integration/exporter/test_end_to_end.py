"""Photo files, answered by a model of the user's own runtime, and by its exported version on the model server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.client import ModelClient
from serving.description import read_description
from serving.errors import ModelUnavailableError
from tests.support.export_command import export_command
from tests.support.raw_models import RAW_CONTRACT, ZOO_CONTRACT, write_simple_save, write_zoo_model
from tests.support.servers.model_server import ServerProcess, until
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions
from workers.pipeline.rows import ImageRows
from workers.sources.decoding import prepare

pytestmark = pytest.mark.process

SAMPLES = Path(__file__).parents[3] / "samples"
LETTERBOX = RAW_CONTRACT.replace("score_threshold = 0.25", 'score_threshold = 0.3\nresize_mode = "letterbox"').replace(
    "input_width = 64", 'input_width = 64\nclip = "after"'
)

NAMES = ("zoo", "yolo", "pairs")

PhotoDetections = list[tuple[str, float, list[float]]]
"""The detections of a photo: name, score, and box [ymin, xmin, ymax, xmax] in pixels of the photo."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sample photos, small: a pixel of the input is then a few of the photo, as it is for real detectors."""
    folder = tmp_path_factory.mktemp("photos")
    for path in SAMPLES.glob("*.jpg"):
        with Image.open(path) as photo:
            photo.thumbnail((200, 200))
            photo.save(folder / f"{path.stem}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models as their owners have them, in `own/`, and as the command exported them, in `models/`.

    `models/pairs` is a model that takes two images a call, as its owner has it.
    """
    base = tmp_path_factory.mktemp("models")
    write_zoo_model(base / "own" / "zoo")
    write_simple_save(base / "own" / "yolo", rows=1)
    for name, text in (("zoo", ZOO_CONTRACT), ("yolo", LETTERBOX)):
        (base / f"{name}.toml").write_text(text)
        command = ["savedmodel", base / "own" / name, "--contract", base / f"{name}.toml", "--images", SAMPLES]
        done = export_command(*command, "--models", base / "models")
        assert (done.returncode, done.stderr) == (0, "")
    write_simple_save(base / "models" / "pairs" / "1", rows=2, tail="unstacked")
    return base


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[ModelClient]:
    """A client of a model server with all of them."""
    configs = " ".join(
        f'config {{ name: "{name}" base_path: "{models / "models" / name}" model_platform: "tensorflow" }}'
        for name in NAMES
    )
    (models / "models.config").write_text(f"model_config_list {{ {configs} }}")
    flags = (f"--model_config_file={models / 'models.config'}",)
    server = ServerProcess(models / "models", models / "server.log", flags=flags)
    client = ModelClient(server.target, timeout=180)
    try:
        server.start(ready=False)
        until(lambda: is_available(server, client), "the server to load all")
        yield client
    finally:
        client.close()
        server.end()


def is_available(server: ServerProcess, client: ModelClient) -> bool:
    """Whether the server serves all models; fails at once if it died."""
    assert server.process is not None
    assert server.process.poll() is None, server.text()
    try:
        return all(status.state == "AVAILABLE" for name in NAMES for status in client.status(name))
    except ModelUnavailableError:
        return False


def answered(client: ModelClient, name: str, photos: list[Path]) -> list[PhotoDetections]:
    """What a job of these photos says, all in one call."""
    served = client.describe(name)
    images = []
    for path in photos:
        claimed = ClaimedImage("s:bulk", "1-0", "job", 0, "1", 0, 0, path.name, "blob:x", "", 1, JobOptions(name))
        images.append(ImageRows(claimed, prepare(path.read_bytes(), served.contract, 10**8)))
    detections = client.detect(served, np.stack([image.rows()[0].pixels for image in images]))
    outcomes = [image.add_answer(0, answer, served) for image, answer in zip(images, detections, strict=True)]
    results = [json.loads(outcome.result)["detections"] for outcome in outcomes if outcome]
    return [
        [(d["label"], d["score"], [d["box"][side] for side in ("ymin", "xmin", "ymax", "xmax")]) for d in result]
        for result in results
    ]


def run(folder: Path, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Run a SavedModel's signature in a TF1 session."""
    from exporter.versions.verify import SessionModel

    with SessionModel(folder) as model:
        return model.predict("serving_default", next(iter(inputs.values())))


def by_the_zoo_s_runtime(folder: Path, photo: NDArray[np.uint8]) -> PhotoDetections:
    """As the Object Detection API's notebook does it: the photo as it is, and a label map that begins with 1."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answer = {name: value.numpy()[0] for name, value in model(input_tensor=tf.constant(photo[None])).items()}
    count, names = int(answer["num_detections"]), {1: "tea", 2: "rice"}
    size = np.array(photo.shape[:2] * 2)
    return [
        (names[int(label)], float(score), list(box * size))
        for box, score, label in zip(
            answer["detection_boxes"][:count],
            answer["detection_scores"][:count],
            answer["detection_classes"][:count],
            strict=True,
        )
        if score > 0.3
    ]


def by_yolo_s_runtime(folder: Path, photo: NDArray[np.uint8]) -> PhotoDetections:
    """A letterbox of 32 x 64 by Pillow, the best class of each box, class-wise suppression, and boxes mapped back.

    Of the best ten, those that lie beside the photo are left out.
    """
    import tensorflow as tf

    height, width = photo.shape[:2]
    scale = min(32 / height, 64 / width)
    rows, columns = round(height * scale), round(width * scale)
    shrunk = np.asarray(Image.fromarray(photo).resize((columns, rows), Image.Resampling.BILINEAR))
    top, left = (32 - rows) // 2, (64 - columns) // 2
    image = np.full((32, 64, 3), 114, np.float32)
    image[top : top + rows, left : left + columns] = shrunk
    raw = run(folder, images=image[None] / np.float32(255))["boxes"][0]
    centre, size = raw[:, 1::-1], raw[:, 3:1:-1]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], -1) * [32, 64, 32, 64]
    boxes = (boxes - [top, left, top, left]) / scale
    scores, best = (raw[:, 4:5] * raw[:, 5:]).max(-1), raw[:, 5:].argmax(-1)
    detections: PhotoDetections = []
    for label, name in enumerate(("tea", "rice")):
        chosen = np.flatnonzero((best == label) & (scores > 0.3))
        kept = tf.image.non_max_suppression(boxes[chosen], scores[chosen], 100, 0.5).numpy()
        clipped = np.clip(boxes[chosen][kept], 0, [height, width, height, width])
        detections += [
            (name, float(score), list(box)) for box, score in zip(clipped, scores[chosen][kept], strict=True)
        ]
    best_ten = sorted(detections, key=lambda detection: -detection[1])[:10]
    return [(name, score, box) for name, score, box in best_ten if box[0] < box[2] and box[1] < box[3]]


@pytest.mark.parametrize(
    ("name", "runtime", "rows"), [("zoo", by_the_zoo_s_runtime, 1), ("yolo", by_yolo_s_runtime, 16)]
)
def test_the_version_answers_what_the_model_does(
    models: Path, client: ModelClient, photos: list[Path], name: str, runtime: Any, rows: int
) -> None:
    """Of the same photo files: the same boxes within half a pixel, and scores within 1e-3."""
    detections_of_photos = answered(client, name, photos)

    assert client.describe(name).contract.max_batch_rows == rows
    assert all(detections_of_photos)
    for path, detections in zip(photos, detections_of_photos, strict=True):
        expected = runtime(models / "own" / name, np.asarray(Image.open(path)))
        assert len(detections) == len(expected)
        for label, score, box in expected:
            assert any(
                label == other and abs(score - other_score) < 1e-3 and np.abs(np.subtract(box, other_box)).max() < 0.5
                for other, other_score, other_box in detections
            ), (path.name, label, score, box)


def test_no_call_has_more_rows_than_the_model_takes(client: ModelClient, tmp_path: Path) -> None:
    """Of a model beside a contract: the size of its batches is read from the signature; smaller ones are filled up."""
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT)
    description = read_description(tmp_path / "contract.toml")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)

    served = client.describe("pairs", instead=description)
    both = client.detect(served, images)
    alone = [client.detect(served, image[None]) for image in images]
    with pytest.raises(ValueError, match="takes batches of 2 only, not of 3"):
        client.detect(served, images[[0, 1, 0]])

    assert (served.fixed_rows, served.contract.max_batch_rows, served.version) == (2, 2, 1)
    assert served.contract.model_copy(update={"max_batch_rows": 16}) == description.contract
    for together, (single,) in zip(both, alone, strict=True):
        np.testing.assert_array_equal(together.boxes, single.boxes)
        np.testing.assert_array_equal(together.scores, single.scores)
    assert both[0].boxes.tobytes() != both[1].boxes.tobytes()
