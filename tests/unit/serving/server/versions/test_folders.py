from __future__ import annotations

from pathlib import Path

import pytest

from serving.server.versions.folders import version_folders


@pytest.mark.parametrize(
    ("names", "served"),
    [
        (["05", "5"], {5: "5"}),
        (["005", "05"], {5: "05"}),
        (["1", "10", "2", "x", "2.tmp"], {1: "1", 2: "2", 10: "10"}),
        ([], {}),
    ],
)
def test_folders_whose_names_are_numbers(tmp_path: Path, names: list[str], served: dict[int, str]) -> None:
    """Of several names for a number, the shortest counts."""
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")

    assert {number: folder.name for number, folder in version_folders(tmp_path).items()} == served
