"""Manifests as people have them: broken quoting, other encodings, long lines. One row fails, not the whole job."""

from __future__ import annotations

import codecs
import io
import json

import pytest

from workers.errors import ManifestError
from workers.sources.origins.manifest_rows import Row, read_rows

GUESSED_FIRST = "gb18030"  # the setting's default
GOOD = "https://shop.example/a.jpg"


def read(content: bytes, encoding: str = GUESSED_FIRST) -> tuple[list[tuple[int, Row]], str]:
    """Return the rows of a manifest with their numbers, and the encoding that was guessed."""
    rows, guessed = read_rows(io.BytesIO(content), encoding)
    return list(rows), guessed


def table(*lines: str | bytes, end: bytes = b"\n") -> bytes:
    """Return the bytes of a CSV file with the columns `url` and `custom_id`."""
    return end.join(line if isinstance(line, bytes) else line.encode() for line in ("url,custom_id", *lines))


WRONG_LINES = {
    "text behind a quoted cell": (b'"https://shop.example/b.jpg"x,7', "is not CSV: ',' expected after '\"'"),
    "one quotation mark in a quoted cell": (b'https://shop.example/b.jpg,"27" shelf"', "is not CSV: ',' expected"),
    "a quotation mark that is not closed": (b'https://shop.example/b.jpg,"7', "a quotation mark is not closed"),
    "only a quotation mark": (b'"', "a quotation mark is not closed"),
    "more cells than the header": (b"https://shop.example/a,b.jpg,7", "has more fields than the header"),
    "a line that is too long": (b"https://shop.example/" + b"x" * 70_000 + b",7", "is longer than 65536 bytes"),
    "a line of many pieces": (b"https://shop.example/" + b"x" * 200_000 + b",7", "is longer than 65536 bytes"),
    "bytes that are no text": (b"https://shop.example/b.jpg,\xff\xff", "is not UTF-8: save the manifest as UTF-8"),
    "half of a character": (b"https://shop.example/b.jpg,\xe8\xb4", "is not UTF-8"),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_line_of_csv_that_is_wrong_fails_alone(case: str, end: bytes) -> None:
    """The rows before and behind it are read; the error has its number and the reason."""
    wrong, says = WRONG_LINES[case]
    rows, guessed = read(table(f"{GOOD},\N{LATIN SMALL LETTER E WITH ACUTE}", wrong, f"{GOOD},last", end=end))

    assert rows[0] == (2, {"url": GOOD, "custom_id": "\N{LATIN SMALL LETTER E WITH ACUTE}"})
    number, error = rows[1]
    assert number == 3
    assert isinstance(error, ManifestError)
    assert str(error).startswith(("Row 3 of the manifest ", "Line 3 of the manifest "))
    assert says in str(error)
    assert rows[2:] == [(4, {"url": GOOD, "custom_id": "last"})]
    assert guessed == ""


@pytest.mark.parametrize(
    "start",
    [
        "URL,Custom_ID",
        " url , custom_id ,note",
        '"Url";"custom_id"',
        "sep=;\r\nurl;custom_id;",
        "SEP=|\r\nurl|custom_id",
        "\r\n , \r\nurl,custom_id",
    ],
)
def test_headers_as_people_write_them(start: str) -> None:
    """With capitals and spaces, and behind the line that tells Excel the separator."""
    separator = next(char for char in ";|," if char in start)
    row = separator.join((GOOD, "7", ""))
    blank = separator.join((" ", "", ""))
    rows, _ = read(f"\ufeff{start}\r\n{row}\r\n{blank}\r\n".encode())
    assert [row for _, row in rows] == [{"url": GOOD, "custom_id": "7"}]


def test_a_cell_in_a_column_without_a_name() -> None:
    """It is kept as what has no name, whatever other columns have none."""
    rows, _ = read(b"url,,\n" + GOOD.encode() + b",7,\n")
    assert rows == [(2, {"url": GOOD, "": "7"})]


WRONG_JSON = {
    "no JSON": (
        b'{"url": ',
        "Row 2 of the manifest is not JSON: Expecting value at character 9. Write one object",
    ),
    "no object": (b"[]", "Row 2 of the manifest is not a JSON object"),
    "too long": (b'{"url": "' + b"x" * 70_000 + b'"}', "Line 2 of the manifest is longer than 65536 bytes"),
    "no text": (b'{"url": "\xff"}', "Line 2 of the manifest is not UTF-8"),
    "deep": (b'{"url": ' * 20_000, "Line 2 of the manifest is longer"),
    "a number of many digits": (b'{"url": ' + b"9" * 5000 + b"}", "Row 2 of the manifest is not JSON"),
}


@pytest.mark.parametrize("case", WRONG_JSON)
def test_a_line_of_json_that_is_wrong_fails_alone(case: str) -> None:
    """As in CSV."""
    wrong, says = WRONG_JSON[case]
    good = json.dumps({"url": GOOD, "custom_id": "陰謀"}, ensure_ascii=False).encode()
    rows, _ = read(b"\n".join((good, wrong, good)))

    assert [number for number, _ in rows] == [1, 2, 3]
    assert rows[0][1] == rows[2][1] == {"url": GOOD, "custom_id": "陰謀"}
    assert str(rows[1][1]).startswith(says)


@pytest.mark.parametrize("first", [b'"url": "https://shop.example/b.jpg"}', b"manifest of november", b"[1, 2]"[1:]])
def test_the_first_line_may_be_the_wrong_one(first: bytes) -> None:
    """A file of JSON lines is known by its second line, too."""
    rows, _ = read(first + b'\n{"url": "https://shop.example/a.jpg"}\n')
    assert isinstance(rows[0][1], ManifestError)
    assert rows[1:] == [(2, {"url": GOOD})]


def test_a_path_in_braces_is_no_json() -> None:
    """Programs of Windows name files by GUIDs in braces."""
    rows, _ = read(b"path\n{7b1d}.jpg\n")
    assert rows == [(2, {"path": "{7b1d}.jpg"})]


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"https://shop.example/a.jpg\n", "Line 1 of the manifest names no column `path` or `url`: begin a CSV file"),
        (b"\n\nfile,label\na.jpg,tea\n", "Line 3 of the manifest names no column `path` or `url`"),
        (b'"url\n', "Row 1 of the manifest is not CSV: a quotation mark is not closed"),
        (b"url,url\n", "Line 1 of the manifest names the column `url` twice"),
        (b"x" * 70_000, "Line 1 of the manifest is longer than 65536 bytes"),
        (b"url\xff\n", "Line 1 of the manifest is not UTF-8"),
        (b'[{"url": "https://shop.example/a.jpg"}]', "The manifest is a JSON array"),
        (b"PK\x03\x04\x14\x00\x06\x00", "The manifest is no text in UTF-8, or in UTF-16 with a byte order mark: save"),
        ("url\n".encode("utf-16-le"), "The manifest is no text in UTF-8, or in UTF-16 with a byte order mark: save"),
        ('{"url": 1}'.encode("utf-16-be"), "The manifest is no text in UTF-8, or in UTF-16"),
        ("url\n".encode("utf-32"), "The manifest is no text in UTF-8, or in UTF-16"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_reason(start: bytes, says: str) -> None:
    """Without columns, no row can be told from another."""
    with pytest.raises(ManifestError) as caught:
        read(start)
    assert str(caught.value).startswith(says)


TEXTS = {  # what Excel and editors of each country write
    "gb18030": ["货架一", "饮料区", "王老吉", "超市门口"],
    "cp932": ["棚の写真", "お茶", "コーヒー", "表示"],
    "cp950": ["貨架", "飲料區", "功夫茶", "許蓋"],
}


@pytest.mark.parametrize("kind", ["CSV", "JSON lines"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", *TEXTS])
def test_encodings(encoding: str, kind: str) -> None:
    """UTF-8 and UTF-16 are read as they are; others are guessed as names of archives are, and the guess is said."""
    ids = TEXTS.get(encoding, TEXTS["gb18030"])
    given = [{"url": GOOD, "custom_id": text} for text in ids]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in given)
    if kind == "CSV":
        text = "url,custom_id\r\n" + "".join(f"{GOOD},{name}\r\n" for name in ids)
    content = text.encode(encoding)
    rows, guessed = read(codecs.BOM_UTF16_BE + content if encoding == "utf-16-be" else content)

    assert [row for _, row in rows] == given
    assert guessed == (encoding if encoding in TEXTS else "")


def test_long_text_in_utf_16() -> None:
    """A character may lie across two pieces of the file, and a line across several."""
    rows, _ = read(("url,custom_id\n" + f"{GOOD},货架\U0001f6d2\n" * 5000).encode("utf-16"))
    assert [row for _, row in rows] == [{"url": GOOD, "custom_id": "货架\U0001f6d2"}] * 5000


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff\xfe" + f"url\n{GOOD}\n".encode("utf-16-le") + b"x",
        b"\xff\xfe" + f"url\n{GOOD}\n".encode("utf-16-le") + b"\x00\xd8",
        b"\xff\xfe" + f"url\n{GOOD}\n\ud800".encode("utf-16-le", "surrogatepass"),
    ],
    ids=["half a character", "half a pair at the end", "half a pair"],
)
def test_utf_16_with_a_damaged_line(damaged: bytes) -> None:
    """The line fails alone, and no encoding is guessed for it."""
    rows, guessed = read(damaged)
    assert rows[0] == (2, {"url": GOOD})
    assert "Line 3 of the manifest is not UTF-8" in str(rows[1][1])
    assert (len(rows), guessed) == (2, "")


def test_western_text_is_not_guessed() -> None:
    """Any bytes are some text in cp1252: its rows fail alone until the setting says that it is."""
    content = "\n".join(("url,custom_id", f"{GOOD},caf\xe9", f"{GOOD},tea", f"{GOOD},M\xfcller")).encode("cp1252")
    rows, guessed = read(content)
    assert [isinstance(row, ManifestError) for _, row in rows] == [True, False, True]
    assert "Line 2 of the manifest is not UTF-8: save the manifest as UTF-8" in str(rows[0][1])
    assert guessed == ""

    rows, guessed = read(content, "cp1252")
    assert [row["custom_id"] for _, row in rows if not isinstance(row, ManifestError)] == [
        "caf\xe9",
        "tea",
        "M\xfcller",
    ]
    assert guessed == "cp1252"


def test_one_file_has_one_encoding() -> None:
    """A damaged line of a UTF-8 file is not taken for GBK, and a line of a GBK file that happens to be UTF-8 is GBK."""
    bad = f"{GOOD},货架".encode("gb18030")
    rows, guessed = read(table(f"{GOOD},茶", f"{GOOD},水", bad))
    assert [isinstance(row, ManifestError) for _, row in rows] == [False, False, True]
    assert guessed == ""

    also_utf8 = "目".encode("gb18030")
    assert also_utf8.decode() == "\u013f"
    rows, guessed = read(table(bad, f"{GOOD},".encode() + also_utf8, bad))
    assert [row for _, row in rows] == [{"url": GOOD, "custom_id": name} for name in ("货架", "目", "货架")]
    assert guessed == "gb18030"

    rows, _ = read(table(bad, bad, f"{GOOD},\xff".encode("latin-1")))
    assert "Line 4 of the manifest is not gb18030, as its other lines are" in str(rows[2][1])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
@pytest.mark.parametrize("bytes_left", [0, 1, 2])
def test_ends_of_lines_where_two_pieces_meet(end: bytes, bytes_left: int) -> None:
    """A file is read in pieces of 64 KiB: an end of a line that is cut by one is one end."""
    header = b"url".ljust(65_536 - bytes_left, b",")
    rows, _ = read(end.join((header, GOOD.encode(), GOOD.encode())))
    assert rows == [(2, {"url": GOOD}), (3, {"url": GOOD})]

    long = b"x" * (2 * 65_536 - len(b"url" + end) - bytes_left)
    rows, _ = read(end.join((b"url", long, GOOD.encode())))
    assert [number for number, _ in rows] == [2, 3]
    assert rows[1][1] == {"url": GOOD}
