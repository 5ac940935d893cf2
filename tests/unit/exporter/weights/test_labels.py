from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import ExportError
from exporter.weights.labels import read_labels
from serving.contract import Label


def test_the_background_is_no_label(tmp_path: Path) -> None:
    """Line N is class N; a tab begins the category path."""
    path = tmp_path / "labels.txt"
    path.write_text("Background\ntea\tdrinks/hot\ncafé au lait\n", "utf-8")

    expected = (Label(id=1, name="tea", root="drinks/hot"), Label(id=2, name="café au lait"))
    assert expected == read_labels(path, classes=3)


def test_what_editors_of_windows_add_is_no_part_of_a_name(tmp_path: Path) -> None:
    """A byte order mark before the first name, a carriage return after each."""
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufefftea\r\ntea\r\n".encode())

    with pytest.raises(ExportError, match="line 2: 'tea' stands on line 1 already"):
        read_labels(path, classes=2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"Background\ntea\n", "has 2 lines, but the weights have 3 classes"),
        (b"Background\n\ntea\n", "line 2: the name is blank"),
        (b"Background\ntea\ntea\n", "line 3: 'tea' stands on line 2 already"),
        (b"", "has 0 lines"),
        (b"Background\n\xff\xfe\ntea", "not UTF-8"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, text: bytes, complaint: str) -> None:
    """Each in one line that says where."""
    path = tmp_path / "labels.txt"
    path.write_bytes(text)

    with pytest.raises(ExportError) as refused:
        read_labels(path, classes=3)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """As any other."""
    with pytest.raises(ExportError, match="No such file"):
        read_labels(tmp_path / "none.txt", classes=3)
