from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest

from tests.support.zip_names import archive_named, unicode_path
from workers.settings import Settings
from workers.sources.origins.archive import Archive


def listed(content: bytes, **settings: str) -> tuple[list[tuple[str, bytes]], str]:
    """Name and content of each image of an archive, and the encoding that was guessed."""
    archive = Archive(io.BytesIO(content), Settings(**settings))  # type: ignore[arg-type]  # every value is checked
    images = [(part.name, part.content.read() if part.content else part.ref.encode()) for part in archive.parts()]
    return images, archive.notes.name_encoding


def numbered(names: list[str]) -> list[tuple[str, bytes]]:
    return [(name, str(number).encode()) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        *(
            ("gb18030", name)
            for name in ("照片1.jpg", "货架/左侧.jpg", "陰謀.jpg", "功.jpg", "微信图片_2024.jpg", "表.jpg")
        ),
        *(("cp932", name) for name in ("表.jpg", "写真1.jpg", "棚/左.jpg", "ソース.jpg", "冷蔵庫.jpg", "東京店.jpg")),
        *(("cp950", name) for name in ("功.jpg", "貨架左側.jpg", "許蓋.jpg", "飲料區.jpg", "台北店.jpg")),
        *(("cp437", name) for name in ("Käse.jpg", "crème.jpg", "Größe übrig.jpg", "niño.jpg")),
    ],
)
def test_names_that_do_not_say_their_encoding(encoding: str, name: str) -> None:
    """Each of these names alone is enough for the guess; where the second byte of a character is 0x5C too."""
    assert (numbered([name]), encoding) == listed(archive_named([name.encode(encoding)]))


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp949", "사진1.jpg"), ("cp866", "полка.jpg"), ("cp1251", "Полка.jpg"), ("cp1252", "Käse.jpg")],
)
def test_the_setting_tells_what_names_cannot(encoding: str, name: str) -> None:
    """Korean looks like Chinese and is told by the setting; encodings of one byte a character are never guessed."""
    content = archive_named([name.encode(encoding)])

    assert (numbered([name]), encoding) == listed(content, archive_encoding=encoding)
    assert listed(content)[0] != numbered([name])


@pytest.mark.parametrize(
    "extra",
    [
        struct.pack("<HH", 0x7075, 300) + b"\1ab",
        struct.pack("<HHHH", 0x5455, 0, 0xCAFE, 9),
        struct.pack("<HHBI", 0x7075, 7, 1, zlib.crc32(b"a.jpg")) + b"\xff\xfe",
    ],
    ids=["name that is cut off", "field that is cut off", "name that is no text"],
)
def test_a_damaged_extra_field_harms_nothing(extra: bytes) -> None:
    """Photos need none of them; zipfile alone refuses the whole archive."""
    assert listed(archive_named([b"a.jpg", b"b.jpg"], extra=extra)) == (numbered(["a.jpg", "b.jpg"]), "")


def test_an_entry_whose_own_header_has_another_name() -> None:
    """Some tools write the name in UTF-8 in the directory alone. The directory counts; zipfile refuses the entry."""
    own = ["货物.jpg".encode("gbk").ljust(10, b"g"), b"b.jpg"]
    assert listed(archive_named(["货物.jpg".encode(), b"b.jpg"], own_names=own)) == (
        numbered(["货物.jpg", "b.jpg"]),
        "",
    )


def test_the_setting_does_not_overrule_the_characters() -> None:
    """A name of frequent Japanese characters is Japanese, whatever the usual encoding of the server's callers."""
    assert listed(archive_named(["写真.jpg".encode("cp932")]), archive_encoding="cp949") == (
        numbered(["写真.jpg"]),
        "cp932",
    )


def test_one_encoding_for_the_archive() -> None:
    """A name that could be Chinese is Japanese in an archive whose other names can only be that."""
    names = ["陳列.jpg", "スーパー.jpg", "a.jpg"]

    assert listed(archive_named([name.encode("cp932") for name in names])) == (numbered(names), "cp932")


def test_bytes_that_fit_no_encoding() -> None:
    """The image is taken all the same, under a name in which every byte is a character."""
    assert listed(archive_named([b"\xff\xff\x80.jpg"])) == ([("  Ç.jpg".replace(" ", "\xa0"), b"0")], "cp437")


@pytest.mark.parametrize("flagged", [True, False])
def test_utf8_with_the_flag_and_without(flagged: bool) -> None:  # noqa: FBT001  the two cases
    """Finder of macOS leaves the flag out."""
    names = ["表.jpg", "Bildschirmfoto um 10.30.15\u202fPM.png", "e\u0301.jpg"]

    assert listed(archive_named([name.encode() for name in names], flagged=flagged)) == (numbered(names), "")


def test_a_flag_that_is_wrong() -> None:
    """One name that is flagged as UTF-8 and is not does not make the whole archive unreadable."""
    stored = ["ä.jpg".encode(), "货架.jpg".encode("gb18030"), b"c.jpg"]

    assert listed(archive_named(stored, flagged=True)) == (numbered(["ä.jpg", "货架.jpg", "c.jpg"]), "gb18030")


def test_the_unicode_path_field() -> None:
    """It is what counts, but not after the entry was renamed by a tool that does not know it, nor if it is cut."""
    stored = "表.jpg".encode("cp932")
    field = unicode_path(stored, "表\u3000棚.jpg")

    assert listed(archive_named([stored], extra=field)) == (numbered(["表\u3000棚.jpg"]), "")
    assert listed(archive_named([b"new.jpg"], extra=field)) == (numbered(["new.jpg"]), "")
    assert listed(archive_named([stored], extra=b"\x75\x70\x01\x00\x01")) == (numbered(["表.jpg"]), "cp932")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("a\\b\\c.jpg", "a/b/c.jpg"),
        ("a/b\\c.jpg", "a/b\\c.jpg"),
        ("10:30 aisle.jpg", "10:30 aisle.jpg"),
        ("sub/10:30.jpg", "sub/10:30.jpg"),
        ("a\u00a0b\u3000c\u200dd\ue000.jpg", "a\u00a0b\u3000c\u200dd\ue000.jpg"),
        ("./a.jpg", "./a.jpg"),
    ],
)
def test_names_that_are_taken(stored: str, shown: str) -> None:
    """Backslashes separate where no slash does; a colon, spaces of all kinds and private characters are allowed."""
    assert listed(archive_named([stored.encode()]))[0] == numbered([shown])


def test_what_is_left_out_is_counted() -> None:
    """By suffix. Hidden files and folders that operating systems make are not counted, with either separator."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in (
            "a.jpg", "b.HEIC", "sub/c.heic", "d.jp2", "README", "sub/",
            ".hidden.jpg", "Thumbs.db", ".thumbnails/a.jpg", "x/@eaDir/a.jpg/SYNOPHOTO_THUMB.jpg", "__MACOSX/a.jpg",
            "y\\__MACOSX\\a.jpg",
        ):  # fmt: skip
            archive.writestr(name, b"x")
    read = Archive(io.BytesIO(content.getvalue()), Settings())

    assert [part.name for part in read.parts()] == ["a.jpg"]
    assert read.notes.skipped == {".heic": 2, ".jp2": 1, "none": 1}
