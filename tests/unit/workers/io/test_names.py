from __future__ import annotations

from pathlib import Path

import pytest

from workers.errors import OutputNotAllowedError, SourceNotAllowedError
from workers.io.folders import walk_images
from workers.io.locations import allowed_location, check_output, list_images
from workers.io.names import (
    MAX_SUFFIXES,
    control_in,
    count_skipped,
    escaped_controls,
    percent_decoded,
    printable,
    without_controls,
)
from workers.io.urls import parse_http_url
from workers.jobs.output import Output
from workers.settings import Settings

ALLOWED = "a\u00a0\u00ad\u200b\u200d\u202e\u202f\u2028\u3000\ue000\ufeff\uffff\U000e0001\U0010ffff.jpg"
REFUSED = ["\x00", "\n", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\ud800", "\udcff"]


@pytest.mark.parametrize("char", REFUSED)
def test_characters_that_no_name_has(char: str) -> None:
    """C0, DEL, C1 and lone surrogates: named as in the Unicode charts, and replaced where a name must be shown."""
    assert control_in(f"a{char}b\n") == f"U+{ord(char):04X}"
    assert control_in(without_controls(f"a{char}")) == ""
    assert control_in(escaped_controls(f"a{char}")) == ""


def test_all_other_characters_are_allowed() -> None:
    """Also those that `str.isprintable` refuses: spaces of all kinds, joiners, private use, what is not assigned."""
    assert control_in(ALLOWED) == ""
    assert without_controls(ALLOWED) == escaped_controls(ALLOWED) == printable(ALLOWED) == ALLOWED


def test_locations_say_the_true_reason() -> None:
    """A control character is not said to be a wrong prefix."""
    assert allowed_location(f"memory://photos/{ALLOWED}", ("memory://photos",)) == f"memory://photos/{ALLOWED}"
    for name, reason in (
        ("a\x85", r"has the control character U\+0085"),
        ("10::30.jpg", "has `::`, which leads to another store"),
        ("../a.jpg", "has a segment `.` or `..`"),
    ):
        with pytest.raises(SourceNotAllowedError, match=reason):
            allowed_location(f"memory://photos/{name}", ("memory://photos",))
    settings = Settings(output_prefixes=("memory://out",), source_prefixes=())
    check_output(Output(f"memory://out/{ALLOWED}"), settings)
    with pytest.raises(OutputNotAllowedError, match=r"has the control character U\+000A"):
        check_output(Output("memory://out/a\n"), settings)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("%E8%B4%A7%E6%9E%B6%201.jpg", "货架 1.jpg"),
        ("货架.jpg", "货架.jpg"),
        ("100%25.jpg", "100%.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("%BB%F5.jpg", "%BB%F5.jpg"),
        ("a%0Ab.jpg", "a%0Ab.jpg"),
        ("", ""),
    ],
)
def test_names_of_urls(path: str, name: str) -> None:
    """Shown as people read them, unless the bytes are not UTF-8 or would be control characters."""
    assert parse_http_url(f"https://shop.example/x%2Fy/{path}?a=%41").file_name == name
    assert percent_decoded(path) == name


def test_folders_that_systems_make(tmp_path: Path, memory_store: object) -> None:
    """Previews, resource forks and deleted photos are left out of a folder and of a store alike, at any depth."""
    names = [
        "a.jpg",
        "x/@eaDir/a.jpg/S.jpg",
        ".thumbnails/a.jpg",
        "__MACOSX/a.jpg",
        "#recycle/a.jpg",
        "Thumbs.db",
        "x/b.jpg",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        memory_store.pipe_file(f"/photos/{name}", b"x")  # type: ignore[attr-defined]

    expected = ["a.jpg", "x/b.jpg"]
    assert [str(file.path.relative_to(tmp_path)) for file in walk_images(tmp_path)] == expected
    assert [file.name for file in list_images("memory://photos", ("memory://photos",))] == expected


def test_skipped_files_are_counted_by_suffix() -> None:
    """In lower case and without control characters; a folder of odd names does not make the counts long."""
    counts: dict[str, int] = {}
    for name in ("a.HEIC", "b.heic", "README", "a.\x1b[1m", ".hidden", "Thumbs.db", "x." + "y" * 20):
        count_skipped(counts, name)
    assert counts == {".heic": 2, "none": 1, ".\ufffd[1m": 1, "other": 1}

    for number in range(100):
        count_skipped(counts, f"a.{number}")
    assert (len(counts), sum(counts.values())) == (MAX_SUFFIXES, 105)
