from __future__ import annotations

import pytest

from workers.sources.selection import Selection

NAMES = [f"{folder}/{number:03}.jpg" for folder in ("a", "b/c") for number in range(100)]


def _chosen(selection: Selection, names: list[str] | None = None) -> list[str]:
    return list(selection.chosen(NAMES if names is None else names, str))


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("*.jpg", ["a.jpg", "x/y/a.jpg"], ["a.png", "a.jpg.png"]),
        ("x/*.jpg", ["x/a.jpg"], ["a.jpg", "x/y/a.jpg", "y/x/a.jpg"]),
        ("/a.jpg", ["a.jpg"], ["x/a.jpg"]),
        ("x/**", ["x/a.jpg", "x/y/a.jpg"], ["a.jpg", "xx/a.jpg"]),
        ("**/x/*", ["x/a.jpg", "y/x/a.jpg"], ["x/y/a.jpg"]),
        ("a?.jpg", ["ab.jpg"], ["a.jpg", "a/.jpg"]),
        ("[ab-d].jpg", ["a.jpg", "c.jpg"], ["e.jpg"]),
        ("[!a].jpg", ["b.jpg"], ["a.jpg"]),
        ("[]^].jpg", ["].jpg", "^.jpg"], ["a.jpg"]),
        ("[", ["["], ["a"]),
        ("a.b", ["a.b"], ["aXb"]),
        ("a\n*", ["a\nb"], ["ab"]),
    ],
)
def test_globs(glob: str, takes: list[str], leaves: list[str]) -> None:
    """As shells and gitignore have them."""
    assert [name for name in takes + leaves if Selection(include=(glob,)).takes(name)] == takes
    assert [name for name in takes + leaves if Selection(exclude=(glob,)).takes(name)] == leaves


def test_first_ones() -> None:
    """A limit is not passed by one: what is behind is not even looked at."""
    names = iter(NAMES)
    assert list(Selection(include=("b/c/*",), limit=3).chosen(names, str)) == [
        "b/c/000.jpg",
        "b/c/001.jpg",
        "b/c/002.jpg",
    ]
    assert len(list(names)) >= 95


def test_a_sample() -> None:
    """It is spread, in order, the same each time, and hardly changes where names are added."""
    ten = _chosen(Selection(sample=10))
    assert len(ten) == 10
    assert ten == sorted(ten, key=NAMES.index) == _chosen(Selection(sample=10))
    assert {name[0] for name in ten} == {"a", "b"}
    assert len(set(ten) & set(_chosen(Selection(sample=10), [*NAMES, "new.jpg"]))) >= 9
    assert _chosen(Selection(sample=10, limit=4)) == ten[:4]
    assert _chosen(Selection(sample=1000)) == NAMES


def test_a_glob_that_is_none() -> None:
    """It is said when it is given."""
    with pytest.raises(ValueError, match=r"'\[z-a\]' is not a glob"):
        Selection(exclude=("[z-a]",))
