from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.versions.origin import ORIGIN_FILE, Origin, read_origin, write_origin
from serving.conventions import YoloRaw
from serving.description import Description
from tests.support.models import tiny_contract


@pytest.mark.parametrize("best_class_only", [True, False])
def test_an_origin_is_read_as_it_was_written(tmp_path: Path, *, best_class_only: bool) -> None:
    """With all that the source's outputs mean."""
    output = YoloRaw(convention="yolo_raw", tensor="x", best_class_only=best_class_only)
    origin = Origin(kind="keras", description=Description(contract=tiny_contract(), output=output))

    write_origin(tmp_path, origin)

    assert origin == read_origin(tmp_path)


def test_the_origin_of_an_old_version_means_what_it_meant(tmp_path: Path) -> None:
    """Shelfline 0.2 kept each class of a YOLO's box, as the graph of such a version still does."""
    output = {"convention": "yolo_raw", "tensor": "x", "box_order": "cxcywh", "box_units": "pixels", "label_offset": 0}
    description = {
        "contract": json.loads(tiny_contract().to_json()),
        "signature": "serving_default",
        "input": {"tensor": "images", "dtype": "float32", "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1]},
        "output": output,
    }
    (tmp_path / ORIGIN_FILE).parent.mkdir()
    (tmp_path / ORIGIN_FILE).write_text(json.dumps({"kind": "keras", "description": description}))

    read = read_origin(tmp_path).description.output

    assert isinstance(read, YoloRaw)
    assert not read.best_class_only
