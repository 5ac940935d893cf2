from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import ExportError
from exporter.weights.labels import read_labels
from serving.contract import Label
from serving.description import read_description
from tests.support.real_ssd import contract_toml


def test_both_commands_read_the_same(tmp_path: Path) -> None:
    """What `export ssd300 --labels` reads, `labels` of contract.toml reads; tabs above all."""
    (tmp_path / "labels.txt").write_text("Background\ntea\tdrinks/hot\nrice\n")
    (tmp_path / "contract.toml").write_text(
        contract_toml("shop", labels="labels.txt", score_threshold=0.5, nms_iou=0.5, max_detections=10)
    )

    described = read_description(tmp_path / "contract.toml")
    assert described.contract.labels == read_labels(tmp_path / "labels.txt", classes=3)


def test_a_label_map_has_no_background(tmp_path: Path) -> None:
    """Its ids are the classes, from 1."""
    path = tmp_path / "map.pbtxt"
    path.write_text("item { id: 2 name: 'rice' } item { id: 1 name: 'tea' }")

    assert read_labels(path, classes=3) == (Label(id=1, name="tea"), Label(id=2, name="rice"))
    with pytest.raises(ExportError, match="has 2 labels beside the background, with ids from 1 to 2, but the weights"):
        read_labels(path, classes=4)


def test_the_background_is_no_label(tmp_path: Path) -> None:
    """Line N is class N; a tab begins the category path."""
    path = tmp_path / "labels.txt"
    path.write_text("Background\ntea\tdrinks/hot\ncafé au lait\n", "utf-8")

    expected = (Label(id=1, name="tea", root="drinks/hot"), Label(id=2, name="café au lait"))
    assert expected == read_labels(path, classes=3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "Background\ntea\n",
            "has 1 labels beside the background, with ids from 1 to 1, but the weights have 3 classes",
        ),
        ("", "has 0 labels beside the background, but the weights have 3 classes"),
        ("item { id: 1 name: 'tea' } item { id: 3 name: 'rice' }", "with ids from 1 to 3"),
    ],
)
def test_another_number_of_labels_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """In one line that says what to write."""
    path = tmp_path / "labels.txt"
    path.write_text(text)

    with pytest.raises(ExportError, match=complaint) as refused:
        read_labels(path, classes=3)
    assert str(refused.value).endswith("write 3 lines, the first for the background, or the ids 1 to 2.")
