from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from serving.contract import Contract, first_problem
from serving.errors import ContractError
from tests.support.models import tiny_contract

# What Shelfline 0.2 wrote into a version, byte for byte.
OF_0_2 = (
    '{"name":"shop","input_height":32,"input_width":64,"resize":"nearest","score_threshold":0.25,"nms_iou":0.5,'
    '"max_detections":10,"max_batch_rows":16,"labels":[{"id":1,"name":"tea","root":"drinks"}],'
    f'"weights_sha256":"{"0" * 64}","provenance":"ours"}}'
)
NEW: dict[str, Any] = {
    "resize": "lanczos",
    "antialias": False,
    "resize_mode": "letterbox",
    "pad_colour": (0, 1, 255),
    "align": "top_left",
    "upscale": False,
    "nms": "agnostic",
    "clip": "after",
    "thresholds": {"product-2": 0.4},
}


def changed(**fields: Any) -> Contract:
    """The tiny model's contract with other fields, checked."""
    return Contract.model_validate(tiny_contract().model_dump() | fields)


def test_an_old_contract_is_read_and_written_as_it_was() -> None:
    """So an older worker reads what a newer exporter writes, as long as the model needs nothing new."""
    contract = Contract.from_json(OF_0_2)

    assert contract.to_json() == OF_0_2
    assert (contract.antialias, contract.resize_mode, contract.nms, contract.clip) == (
        True,
        "stretch",
        "per_class",
        "before",
    )


def test_new_fields_are_kept() -> None:
    """All of them, each with another value than its default."""
    contract = changed(**NEW)

    assert contract == Contract.from_json(contract.to_json())
    assert {
        name: list(value) if isinstance(value, tuple) else value for name, value in NEW.items()
    }.items() <= json.loads(contract.to_json()).items()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"antialias_with": 2}, "antialias_with: "),
        ({"resize": "hermite"}, "resize: "),
    ],
)
def test_what_a_newer_exporter_wrote_is_refused_with_what_to_do(fields: dict[str, Any], complaint: str) -> None:
    """Guessing would give other boxes."""
    with pytest.raises(ContractError, match=complaint + r".*A newer Shelfline exported the model: update Shelfline"):
        Contract.from_json(json.dumps(json.loads(OF_0_2) | fields))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"pad_colour": (1, 2, 3)}, 'pad_colour is for a letterbox: set resize_mode to "letterbox"'),
        ({"align": "top_left"}, "align is for a letterbox"),
        ({"upscale": False}, "upscale is for a letterbox"),
        ({"resize_mode": "letterbox", "pad_colour": (1, 2, 256)}, "pad_colour.2: "),
        ({"resize_mode": "letterbox", "pad_colour": (1, 2)}, "pad_colour.2: "),
        ({"thresholds": {"product-9": 0.4}}, "thresholds: no label is called 'product-9'"),
        ({"thresholds": {"product-1": 1.4}}, "thresholds.product-1: "),
        ({"nms": "soft"}, "nms: "),
        ({"clip": "never"}, "clip: "),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], complaint: str) -> None:
    """With the field's name; padding without a letterbox would be ignored in silence."""
    with pytest.raises(ValidationError) as refused:
        changed(**fields)
    assert complaint in first_problem(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_height": 33},
        {"input_width": 33},
        {"resize": "area"},
        {"antialias": False},
        {"resize_mode": "letterbox"},
        {"resize_mode": "letterbox", "pad_colour": (0, 0, 0)},
        {"resize_mode": "letterbox", "align": "top_left"},
        {"resize_mode": "letterbox", "upscale": False},
    ],
)
def test_other_pixels_are_told(fields: dict[str, Any]) -> None:
    """Whatever changes a prepared row; thresholds and labels do not."""
    letterbox = {"resize_mode": "letterbox"} if len(fields) > 1 else {}
    contract = changed(**letterbox)

    assert not contract.takes_same_pixels(changed(**fields))
    assert changed(**fields).takes_same_pixels(changed(**fields, nms="none", score_threshold=0.9))


def test_a_label_has_its_own_threshold() -> None:
    """The others have the contract's."""
    contract = changed(thresholds={"product-2": 0.05, "product-3": 0.7})

    assert contract.threshold_by_id == {1: 0.1, 2: 0.05, 3: 0.7, 4: 0.1, 5: 0.1}
    assert (contract.lowest_threshold, tiny_contract().lowest_threshold) == (0.05, 0.1)
