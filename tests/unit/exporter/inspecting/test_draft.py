"""The draft of a contract."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from exporter.inspecting.draft import draft_text
from exporter.inspecting.facts import Finding
from serving.contract import Label
from serving.description import UNKNOWN, read_description
from serving.errors import ContractError

KEYS = [
    Finding("", "name", "sku"),
    Finding("", "input_height", 64, "pixels"),
    Finding("", "input_width", 64, "a reason that is so long " * 8),
    Finding("", "score_threshold", 0.25),
    Finding("", "nms_iou", 0.5),
    Finding("", "max_detections", 300),
    Finding("", "antialias", value=False),
    Finding("input", "tensor", 'odd "name" \\ of 输入\x7f\t'),
    Finding("input", "scale", [255, 255, 255], "by measure of\x7f\x00 it"),
    Finding("output", "convention", "end_to_end"),
    Finding("output", "tensor", "o"),
]
NAMES = (Label(id=0, name='tea "x"\n'), Label(id=1, name="茶"))


@pytest.mark.parametrize("labels", [NAMES, (Label(id=3, name="tea", root="drinks/hot"),)])
def test_a_draft_is_a_contract(tmp_path: Path, labels: tuple[Label, ...]) -> None:
    """Whatever is in its values."""
    path = tmp_path / "contract.toml"
    path.write_text(draft_text(KEYS, labels, ["what it is\nnms = 1", ""]), "utf-8")

    description = read_description(path)

    assert description.input.tensor == KEYS[7].value
    assert description.contract.labels == labels
    assert max(map(len, path.read_text("utf-8").splitlines())) < 230


@pytest.mark.parametrize(("place", "key"), [(3, "score_threshold"), (8, "input.scale"), (9, "output.convention")])
def test_what_was_not_told_is_named(tmp_path: Path, place: int, key: str) -> None:
    """By the export too, before anything else is looked at."""
    keys = list(KEYS)
    keys[place] = Finding(keys[place].section, keys[place].key, UNKNOWN, "one of\n two")
    text = draft_text(keys, Finding("", "labels", ["a"]))
    path = tmp_path / "contract.toml"
    path.write_text(text, "utf-8")

    assert "# NOT TOLD: one of two\n" in text
    assert tomllib.loads(text)
    with pytest.raises(ContractError, match=rf'{key} is "\?", since `shelfline export inspect` could not tell it'):
        read_description(path)
