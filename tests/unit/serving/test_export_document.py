"""The examples of docs/export.md are read as a user would have them read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from serving.conventions import Output
from serving.description import read_description

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "export.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_a_contract(text: str, tmp_path: Path) -> None:
    """Each could be copied and used."""
    (tmp_path / "labels.txt").write_text("Background\ntea\nrice\n")
    (tmp_path / "contract.toml").write_text(text)

    description = read_description(tmp_path / "contract.toml")

    assert [label.name for label in description.contract.labels] == ["tea", "rice"]


def test_every_convention_has_an_example() -> None:
    """Whoever adds one documents it."""
    union, _ = get_args(Output)
    known = {name for model in get_args(union) for name in get_args(model.model_fields["convention"].annotation)}

    assert {match[1] for text in EXAMPLES for match in re.finditer(r'convention = "(\w+)"', text)} == known


def test_every_key_of_the_file_is_documented() -> None:
    """The contract's own fields, the input's and each convention's; the exporter sets the digest itself."""
    from serving.contract import Contract
    from serving.description import ConstantInput, RawInput

    union, _ = get_args(Output)
    fields = {*Contract.model_fields, *RawInput.model_fields, *ConstantInput.model_fields, "signature"} - {
        "weights_sha256"
    }
    for model in get_args(union):
        fields |= set(model.model_fields)

    assert {name for name in fields if not re.search(rf"\b{name}\b = |\[{name}\]", DOCUMENT)} == set()
