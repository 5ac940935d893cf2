from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from workers.errors import FolderNotAllowedError, FolderNotFoundError, ManifestError, SourceNotAllowedError
from workers.settings import Settings
from workers.sources.origins.manifest_file import Manifest, open_manifest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder_roots=(tmp_path,), source_prefixes="memory://photos", max_manifest_bytes=300_000)


def rows(content: str | bytes, settings: Settings, base: Path | str | None = None) -> list[tuple[str, str, str]]:
    """Name, reference and custom_id of each row."""
    raw = content.encode() if isinstance(content, str) else content
    return [(part.name, part.ref, part.custom_id) for part in Manifest(io.BytesIO(raw), settings, base).parts()]


def test_the_same_rows_either_way(settings: Settings, tmp_path: Path) -> None:
    """JSON lines and CSV, with a byte order mark or without, blank lines left out."""
    expected = [
        ("a.jpg", "url:https://shop.example/x/a.jpg?s=1", "one"),
        (f"{tmp_path}/b,c.jpg", f"file:{quote(str(tmp_path))}/b%2Cc.jpg", ""),
        ("d.jpg", "fs:memory://photos/d.jpg", "drei"),
    ]
    given = [
        {"url": "https://shop.example/x/a.jpg?s=1", "custom_id": "one"},
        {"path": f"{tmp_path}/b,c.jpg"},
        {"url": "memory://photos/d.jpg", "custom_id": "drei", "path": ""},
    ]
    lines = "\n\n".join(map(json.dumps, given))
    table = (
        "custom_id,path,url\r\none,,https://shop.example/x/a.jpg?s=1\r\n"
        f',"{tmp_path}/b,c.jpg",\r\n\r\ndrei,,memory://photos/d.jpg\r\n'
    )
    for text in (lines, table):
        assert rows(text, settings) == rows(b"\xef\xbb\xbf" + text.encode(), settings) == expected


def test_paths_start_where_the_manifest_lies(settings: Settings, tmp_path: Path) -> None:
    """In a folder, and in another store."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.csv").write_text("path\na.jpg\nx/b.jpg\n")
    with open_manifest(str(tmp_path / "sub" / "m.csv"), settings) as (content, base):
        refs = [part.ref for part in Manifest(content, settings, base).parts()]
    assert refs == [f"file:{quote(str(tmp_path))}/sub/{name}" for name in ("a.jpg", "x/b.jpg")]
    assert rows('{"path": "x/a.jpg"}', settings, "memory://photos/july") == [
        ("x/a.jpg", "fs:memory://photos/july/x/a.jpg", "")
    ]


def test_names(settings: Settings, tmp_path: Path) -> None:
    """An image is called what its row says, else what its place says."""
    assert [name for name, _, _ in rows(f"path,name\n{tmp_path}/a.jpg,aisle 7/a\n{tmp_path}/b.jpg,\n", settings)] == [
        "aisle 7/a",
        f"{tmp_path}/b.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"url": "http://a.example/", "name": "' + "x" * 4097 + '"}', "name` is longer than 4096"),
        ('{"path": ', "Row 1 of the manifest is not JSON"),
        ("{" * 2000, "Row 1 of the manifest is not JSON"),
        ('{"path": "a.jpg"}\n[]', "Row 1 of the manifest: `path` is not under an allowed root"),
        ('[{"url": "http://a.example/"}]', "The manifest is a JSON array: write each of its objects in a line"),
        ("{}", "Row 1 of the manifest: It has neither `path` nor `url`: give one"),
        ('{"path": "/a", "url": "http://a.example/"}', "Give either"),
        ("url,\nhttp://a.example/,7\n", "Row 2 of the manifest: It has a value in a column without a name: name the"),
        ('{"url": 3}', "url` must be text"),
        ('{"url": ["http://a.example/"]}', "url` must be text"),
        ('{"url": "http://a.example/", "custom_id": "a\\u0000"}', r"custom_id` has the control character U\+0000"),
        ('{"url": "http://a.example/", "name": "a\\ud800"}', r"name` has the control character U\+D800"),
        ('{"url": "http://a.example/", "custom_id": "' + "x" * 257 + '"}', "256"),
        ('{"url": "http://u:secret@a.example/"}', "password"),
        ('{"url": "http://a.example/", "label": "x"}', "There is no field 'label'"),
        ("path,file\n,a.jpg\n", "Row 2 of the manifest: There is no field 'file'"),
        ("path\n" + "x\n" * 200_000, "more than 300000 bytes"),
        ('{"path": "' + "/x" * 3000 + '"}', "longer than 4096"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(settings: Settings, content: str | bytes, says: str) -> None:
    """So that it can be found among a hundred thousand; without any good row nothing of it is accepted."""
    with pytest.raises((ManifestError, FolderNotAllowedError), match=says) as caught:
        rows(content, settings)

    assert "secret" not in str(caught.value)


GOOD = {"url": "https://shop.example/a.jpg"}


@pytest.mark.parametrize(
    ("row", "name", "says"),
    [
        ({"url": "https://shop.example/a b.jpg", "name": "b"}, "b", "Row 2 of the manifest: The URL has spaces"),
        ({"url": "ftp://shop.example/a.jpg"}, "row-2", "Row 2 of the manifest: The location is not under an allowed"),
        ({"url": "https://u:secret@shop.example/a.jpg"}, "row-2", "password"),
        ({"url": 3}, "row-2", "`url` must be text"),
        ({"path": "/etc/passwd"}, "/etc/passwd", "not under an allowed root"),
        ({"path": "/a", **GOOD}, "/a", "Give either `path` or `url`"),
        ({"name": "x"}, "x", "It has neither `path` nor `url`"),
        ({**GOOD, "label": "tea"}, "row-2", "There is no field 'label'"),
        ({**GOOD, "custom_id": "x" * 257}, "row-2", "longer than 256"),
        ([], "row-2", "Row 2 of the manifest is not a JSON object"),
        (None, "row-2", "Row 2 of the manifest is not a JSON object"),
    ],
)
def test_a_row_that_is_wrong_fails_alone(settings: Settings, row: Any, name: str, says: str) -> None:
    """Its image fails with the number of the row and the reason; the rows around it are taken."""
    first, wrong, last = rows("\n".join(map(json.dumps, (GOOD, row, GOOD))), settings)

    assert first == last == ("a.jpg", "url:https://shop.example/a.jpg", "")
    assert wrong[0] == name
    assert wrong[1].startswith('failed:["item_invalid"')
    assert says in wrong[1]
    assert "secret" not in wrong[1]


def test_a_line_that_is_no_json_fails_alone(settings: Settings) -> None:
    """Cut off in the middle, say; a wrong row keeps the caller's id."""
    good = json.dumps(GOOD)
    names = [(name, custom_id) for name, _, custom_id in rows(f'{good}\n{{"url": \n{good}', settings)]
    assert names == [("a.jpg", ""), ("row-2", ""), ("a.jpg", "")]
    assert rows(f'{good}\n{{"url": 3, "custom_id": "mine"}}', settings)[1][2] == "mine"


@pytest.mark.parametrize(
    "table",
    [
        "url,custom_id,,\r\nhttps://shop.example/a.jpg,one,,\r\n,,,\r\n,,,\r\n",  # empty columns and rows
        "url,custom_id\r\nhttps://shop.example/a.jpg,one,,,\r\n",  # empty cells beyond the header
        "url,custom_id,note\r\nhttps://shop.example/a.jpg,one,\r\n",  # an own column without any value
        "\ufeffurl;custom_id;\r\nhttps://shop.example/a.jpg;one;\r\n;;\r\n",  # of a country with decimal commas
        "url\tcustom_id\r\nhttps://shop.example/a.jpg\tone\r\n\t\r\n",  # copied cells
    ],
)
def test_tables_as_excel_writes_them(settings: Settings, table: str) -> None:
    """Empty columns, rows and cells are nothing; the separator is what the header has."""
    assert rows(table, settings) == [("a.jpg", "url:https://shop.example/a.jpg", "one")]


def test_a_url_is_no_path(settings: Settings) -> None:
    """Below the manifest's own location nothing would be found there, image by image."""
    with pytest.raises(ManifestError, match="Row 2 of the manifest: `path` is a URL: give it as `url`"):
        rows("path\ns3://bucket/a.jpg\n", settings, "s3://bucket/lists")


@pytest.mark.parametrize(
    ("row", "base"),
    [
        ({"path": "/etc/passwd"}, None),
        ({"path": "relative.jpg"}, None),
        ({"path": "../x.jpg"}, "root"),
        ({"path": "/etc/passwd"}, "root"),
        ({"url": "file:///etc/passwd"}, None),
        ({"url": "memory://other/a.jpg"}, None),
        ({"url": "memory://photos/../other/a.jpg"}, None),
        ({"url": "memory://photosother/a.jpg"}, None),
        ({"url": "simplecache::memory://photos/a.jpg"}, None),
        ({"path": "../a.jpg"}, "memory://photos/x"),
        ({"path": "a.jpg"}, "memory://other"),
    ],
)
def test_what_a_manifest_may_not_name(
    settings: Settings, tmp_path: Path, row: dict[str, Any], base: str | None
) -> None:
    """Nothing outside the allowed roots and prefixes."""
    where: Path | str | None = tmp_path if base == "root" else base
    of_a_folder = "path" in row and not str(base).startswith("memory:")
    with pytest.raises(FolderNotAllowedError if of_a_folder else SourceNotAllowedError, match="Row 1"):
        rows(json.dumps(row), settings, where)


def test_manifests_that_may_not_be_read(
    settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Outside the roots, missing, a folder, a link to elsewhere."""
    outside = tmp_path_factory.mktemp("outside") / "m.csv"
    outside.write_text("path\n")
    (tmp_path / "link.csv").symlink_to(outside)
    for where, error in (
        (str(outside), FolderNotAllowedError),
        ("m.csv", FolderNotAllowedError),
        (str(tmp_path / "gone.csv"), FolderNotFoundError),
        (str(tmp_path), FolderNotAllowedError),
        (str(tmp_path / "link.csv"), FolderNotFoundError),
        ("memory://other/m.csv", SourceNotAllowedError),
    ):
        with pytest.raises(error), open_manifest(where, settings):
            pass


def test_a_hundred_thousand_rows_need_little_memory(settings: Settings) -> None:
    """Rows are read one after the other."""
    large = settings.model_copy(update={"max_manifest_bytes": 10**9})
    content = io.BytesIO(b"url\n" + b"https://shop.example/photos/a-name-of-usual-length.jpg\n" * 100_000)

    assert sum(1 for _ in Manifest(content, large).parts()) == 100_000


def test_names_with_unusual_characters(settings: Settings, tmp_path: Path) -> None:
    """Spaces of all kinds (every screenshot of macOS has one), joiners and private characters are names like others."""
    name = "Screenshot 2026-11-30 at 9.41.00\u202fAM \u00a0\u3000\u200d\ue000\u2028.png"

    assert rows(json.dumps({"path": f"{tmp_path}/{name}", "custom_id": name}), settings) == [
        (f"{tmp_path}/{name}", f"file:{quote(str(tmp_path))}/{quote(name)}", name)
    ]
    assert [row[0] for row in rows(f'path,name\n{tmp_path}/a.png,"{name}"\n', settings)] == [name]
