from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.errors import ExportError, VersionExistsError
from exporter.models.ssd300_export import OUTPUT, Ssd300Options, description, export_ssd300
from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections
from serving.contract import Contract
from tests.support.export_command import export_command, start_export
from tests.support.polling import wait_until
from tests.unit.exporter import plain, weight_files
from tests.unit.exporter.compare import assert_same, rows

if TYPE_CHECKING:
    from exporter.models.ssd300 import SSD300
    from exporter.versions.verify import SessionModel

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Two photos, as a client sends them."""
    opened = [Image.open(ROOT / "samples" / f"photo-{name}.jpg").convert("RGB") for name in ("astronaut", "coffee")]
    return np.stack([np.asarray(image.resize((300, 300), Image.Resampling.BILINEAR)) for image in opened])


@pytest.fixture(scope="module")
def contract(ssd300_model: SessionModel) -> Contract:
    """What the exported model says of itself."""
    return Contract.from_json(ssd300_model.predict("describe", np.zeros(1, np.int32))["contract"][0])


@pytest.fixture(scope="module")
def raw(ssd300_model: SessionModel, contract: Contract, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Its raw output for the photos, preprocessed by the client."""
    prepared = prepare(images, description(contract).input)
    answer: NDArray[np.float32] = ssd300_model.predict("serving_default", prepared)[OUTPUT]
    return answer


def test_the_saved_model_answers_as_the_keras_model(
    ssd300_network: SSD300, contract: Contract, raw: NDArray[np.float32], images: NDArray[np.uint8]
) -> None:
    """So every weight came through the file, by its name, into its place."""
    prepared = prepare(images, description(contract).input)

    assert raw.shape == (2, 7308, 21)
    np.testing.assert_allclose(ssd300_network.model(prepared).numpy(), raw, atol=1e-4)


@pytest.mark.process
def test_detect_is_numpy_s_decoding_of_the_raw_output(
    ssd300_model: SessionModel, contract: Contract, raw: NDArray[np.float32], images: NDArray[np.uint8]
) -> None:
    """The two ways to use the model keep the same boxes."""
    answer = ssd300_model.predict("detect", images)

    assert answer["num_detections"].tolist() == [200, 200]
    assert len(set(answer["detection_classes"].ravel().tolist())) > 2
    assert_same(decode({OUTPUT: raw}, description(contract)), rows(answer), threshold=0.5, atol=1e-5)


@pytest.mark.process
def test_detect_is_the_document_s_decoding_of_the_raw_output(
    ssd300_model: SessionModel, raw: NDArray[np.float32], images: NDArray[np.uint8]
) -> None:
    """By the slow decoder that is written plainly from it; what scores below the 200 that are kept changes nothing."""
    (detections,) = rows(ssd300_model.predict("detect", images[1:]))
    lowest = float(detections.scores.min()) - 0.01
    row = raw[1]
    boxes = np.array([plain.ssd_box(prior) for prior in row])
    kept = plain.suppress(boxes, row[:, 5:13], threshold=lowest, nms_iou=0.45, limit=200)
    expected = Detections(
        boxes=np.array([detection.box for detection in kept], np.float32),
        scores=np.array([detection.score for detection in kept], np.float32),
        classes=np.array([1 + detection.class_column for detection in kept]),
    )

    assert_same([expected], [detections], threshold=lowest)


@pytest.mark.process
def test_a_batch_finds_what_each_image_alone_does(ssd300_model: SessionModel, images: NDArray[np.uint8]) -> None:
    """Within the rounding of float32 sums."""
    together = ssd300_model.predict("detect", images)
    alone = [rows(ssd300_model.predict("detect", image[None]))[0] for image in images]

    assert_same(rows(together), alone, threshold=0.5)


def test_the_contract_is_what_was_asked_for(contract: Contract, ssd300_weights: Path) -> None:
    """Eight labels from 1, the original's thresholds, the digest of the weight file."""
    assert (
        contract.name,
        contract.input_height,
        contract.score_threshold,
        contract.nms_iou,
        contract.max_detections,
    ) == ("commodity", 300, 0.5, 0.45, 200)
    assert (
        contract.labels[0].id,
        contract.labels[0].name,
        contract.labels[-1].id,
        contract.labels[-1].name,
    ) == (1, "clothes", 8, "books")
    assert hashlib.sha256(ssd300_weights.read_bytes()).hexdigest() == contract.weights_sha256


def test_the_signatures_are_those_that_the_course_made(ssd300_model: SessionModel) -> None:
    """`simple_save(inputs={'images': ...}, outputs={t.name: t})`, so its client finds both."""
    served = ssd300_model.signatures["serving_default"]

    assert (list(served.inputs), list(served.outputs)) == (["images"], ["concat_3:0"])
    assert [d.size for d in served.inputs["images"].tensor_shape.dim] == [-1, 300, 300, 3]
    assert {"serving_default", "detect", "describe"} == set(ssd300_model.signatures)


def test_the_warm_up_records_can_be_run(ssd300_folder: Path, ssd300_model: SessionModel) -> None:
    """Each names a signature and holds an input that it takes; all of them together are small."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from exporter.versions.warmup_records import WARMUP_FILE

    path = ssd300_folder / WARMUP_FILE
    signatures = []
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        (tensor,) = request.inputs.values()
        ssd300_model.predict(request.model_spec.signature_name, tf.make_ndarray(tensor))
        signatures.append((request.model_spec.name, request.model_spec.signature_name))

    assert signatures == [*[("commodity", "detect")] * 4, ("commodity", "describe")]
    assert path.stat().st_size < 1000


@pytest.mark.process
def test_a_dry_run_says_what_it_would_write(tmp_path: Path, ssd300_weights: Path, commodity_labels: Path) -> None:
    """And writes nothing, though it does all the rest."""
    options = ("--name", "shop", "--labels", commodity_labels, "--models", tmp_path / "models", "--dry-run")

    done = export_command("ssd300", ssd300_weights, *options)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path / 'models' / 'shop' / '1'} (dry run: nothing was written)\n" == done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--classes", "21"], "has 9 classes, background included, not 21"),
        (["--nms-iou", "1.5"], "nms_iou: "),
        (["--top-k", "0"], "max_detections: "),
        (["--name", "../b"], "name: "),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    tmp_path: Path, ssd300_weights: Path, commodity_labels: Path, options: list[str], complaint: str
) -> None:
    """Nothing is written."""
    models = tmp_path / "models"

    arguments = ("--name", "shop", "--labels", commodity_labels, "--models", models, *options)
    done = export_command("ssd300", ssd300_weights, *arguments)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert complaint in done.stderr
    assert not models.exists()


def test_another_network_s_weights_are_refused(tmp_path: Path, commodity_labels: Path) -> None:
    """Even where the layer that tells the class count is there; nothing is written."""
    path = tmp_path / "other.h5"
    weight_files.keras2(
        path, {"pool6_mbox_conf_flat_9": [np.ones((256, 54)), np.ones(54)], "x": [np.ones((1, 1)), np.ones(1)]}
    )

    with pytest.raises(ExportError, match=r"missing: conv1_1, .* and 29 more; unexpected: x\.$"):
        export_ssd300(path, tmp_path / "models" / "shop", Ssd300Options(labels=commodity_labels))
    assert [path] == list(tmp_path.iterdir())


def test_what_tells_no_class_count_is_compared_where_one_is_given(tmp_path: Path, commodity_labels: Path) -> None:
    """The first error asks for `--classes`; with it the second names what differs. Nothing is written."""
    path = tmp_path / "other.h5"
    weight_files.keras2(path, {"conv1_1": [np.ones((3, 3, 3, 64)), np.ones(64)]})

    with pytest.raises(ExportError, match="name the class count with --classes to see what differs"):
        export_ssd300(path, tmp_path / "models" / "shop", Ssd300Options(labels=commodity_labels))
    with pytest.raises(ExportError, match=r"missing: conv1_2, .* and 29 more\.$"):
        export_ssd300(path, tmp_path / "models" / "shop", Ssd300Options(labels=commodity_labels, classes=9))
    assert [path] == list(tmp_path.iterdir())


def test_a_version_is_never_overwritten(ssd300_folder: Path, ssd300_weights: Path, commodity_labels: Path) -> None:
    """A used number is refused before any of the slow work."""
    before = {path: path.stat().st_mtime_ns for path in ssd300_folder.rglob("*")}

    for dry_run in (False, True):
        with pytest.raises(VersionExistsError):
            export_ssd300(
                ssd300_weights, ssd300_folder.parent, Ssd300Options(labels=commodity_labels), version=1, dry_run=dry_run
            )
    assert before == {path: path.stat().st_mtime_ns for path in ssd300_folder.rglob("*")}


@pytest.mark.process
def test_an_export_that_is_ended_leaves_nothing(tmp_path: Path, ssd300_weights: Path, commodity_labels: Path) -> None:
    """A supervisor's SIGTERM in the middle of writing."""
    models = tmp_path / "models"
    process = start_export("ssd300", ssd300_weights, "--name", "shop", "--labels", commodity_labels, "--models", models)
    wait_until(lambda: list(models.glob("shop/.exporting-*")), what="the draft")
    process.terminate()

    _, said = process.communicate(timeout=180)
    assert (process.returncode, said) == (143, "")
    assert not models.exists()
