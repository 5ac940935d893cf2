from __future__ import annotations

import unicodedata

import pytest

from workers.results.pictures import _file_name


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("货架/左侧 1.jpg", "左侧_1"),
        ("棚/写真.jpg", "写真"),
        (unicodedata.normalize("NFD", "Café/Größe.jpg"), "Größe"),
        ("ชั้นวาง.png", "ชั้นวาง"),
        ("a:b?*\u202f\n\\c.jpg", "a_b_c"),
        ("\ud800.jpg", "_"),
        (".jpg", ".jpg"),
        ("x" * 300 + ".jpg", "x" * 80),
        ("货" * 300 + ".jpg", "货" * 66),
    ],
)
def test_names_of_pictures(name: str, picture: str) -> None:
    """Letters of every script stay; what a file system may not accept does not, and the length in bytes is bounded."""
    assert _file_name(name) == picture
