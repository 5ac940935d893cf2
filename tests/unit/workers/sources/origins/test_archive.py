from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from serving.errors import ShelflineError
from workers.errors import ArchiveError, ArchiveTooLargeError, ImageError
from workers.settings import Settings
from workers.sources.origins.archive import Archive


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def taken(content: bytes, **settings: Any) -> list[tuple[str, bytes | str]]:
    """The images of an archive: their names, and their bytes or why they failed."""
    taken_parts: list[tuple[str, bytes | str]] = []
    for part in Archive(io.BytesIO(content), Settings(**settings)).parts():
        if part.content is None:
            taken_parts.append((part.name, part.ref.removeprefix("failed:")))
            continue
        try:
            taken_parts.append((part.name, part.content.read()))
        except ImageError as error:
            taken_parts.append((part.name, f"{error.code} {error}"))
    return taken_parts


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def test_images_in_the_order_of_the_archive() -> None:
    """Nested and doubled names too; folders, hidden files and what is no image are left out."""
    content = zipped(
        ("b.jpg", b"first"),
        ("sub/", b""),
        ("sub/ä.PNG", b"second"),
        ("c.jpg", b"third"),
        ("notes.txt", b"x"),
        (".hidden.jpg", b"x"),
        ("__MACOSX/._b.jpg", b"x"),
    ).replace(b"c.jpg", b"b.jpg")
    assert taken(content) == [("b.jpg", b"first"), ("sub/ä.PNG", b"second"), ("b.jpg", b"third")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/etc/a.jpg", "leads out"),
        ("../a.jpg", "leads out"),
        ("a/../../b.jpg", "leads out"),
        ("C:/a.jpg", "leads out"),
        ("..\\a.jpg", "leads out"),
        ("a/..\\..\\b.jpg", "leads out"),
        ("C:\\a.jpg", "leads out"),
        ("\\\\server\\a.jpg", "leads out"),
        ("a\x9fb.jpg", "control character U+009F"),
        ("a\x01.jpg", "control character U+0001"),
        ("a\nb.jpg", "control character U+000A"),
        ("x" * 2000 + ".jpg", "longer than 1024"),
        ("more.zip", "archive itself"),
        ("sub/more.tar.gz", "archive itself"),
        (entry("link.jpg", stat.S_IFLNK | 0o777), "link or a device"),
        (entry("device.jpg", stat.S_IFBLK | 0o600), "link or a device"),
        (entry("fifo.jpg", stat.S_IFIFO | 0o600), "link or a device"),
    ],
)
def test_entries_that_are_refused(name: str | zipfile.ZipInfo, says: str) -> None:
    """Each is one failed image, and the next one is fine."""
    (first, why), second = taken(zipped((name, b"../../etc/passwd"), ("good.jpg", b"x")))

    assert isinstance(why, str)
    assert says in why
    assert why.startswith('["archive_entry_refused"')
    assert first.isprintable()
    assert len(first) <= 1024
    assert second == ("good.jpg", b"x")


def flagged(content: bytes, *, flags: int = 0, method: int | None = None, header_only: bool = False) -> bytes:
    """The archive with other flags, or another method, of its first entry."""
    changed = bytearray(content)
    places = [(changed.index(b"PK\x03\x04"), 6)] + ([] if header_only else [(changed.index(b"PK\x01\x02"), 8)])
    for start, at in places:
        struct.pack_into("<H", changed, start + at, flags)
        if method is not None:
            struct.pack_into("<H", changed, start + at + 2, method)
    return bytes(changed)


def test_encrypted_and_odd_compression() -> None:
    """Said of the entry, with what to do."""
    content = zipped(("a.jpg", b"x"), ("good.jpg", b"x"))
    assert "password" in str(taken(flagged(content, flags=1))[0])
    assert "method 14" in str(taken(flagged(content, method=14))[0])
    assert "method 12" in str(taken(zipped(("a.jpg", b"x"), method=zipfile.ZIP_BZIP2))[0])
    assert taken(zipped(("a.jpg", b"x"), method=zipfile.ZIP_BZIP2), archive_methods="bzip2") == [("a.jpg", b"x")]
    assert taken(zipped(("a.jpg", b"x"), method=zipfile.ZIP_STORED)) == [("a.jpg", b"x")]


def test_damage_is_the_entrys() -> None:
    """Wrong checksums, cut data, headers that differ: the entry fails, the others do not."""
    content = bytearray(zipped(("a.jpg", bytes(range(256)) * 20), ("good.jpg", b"x"), method=zipfile.ZIP_STORED))
    content[100] ^= 1

    (_, why), good = taken(bytes(content))

    assert "damaged" in str(why)
    assert good == ("good.jpg", b"x")
    renamed = bytes(content).replace(b"a.jpg", b"b.jpg", 1)
    assert "damaged" in str(taken(renamed)[0])


def test_a_bomb_is_counted_while_it_inflates() -> None:
    """What the archive says about its sizes is not believed; an image too large fails alone, all together in whole."""
    bomb = zipped(*((f"{number}.jpg", b"\0" * 1_000_000) for number in range(5)))
    lying = bytearray(bomb)
    at = 0
    while (at := lying.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<I", lying, at + 24, 10)  # the inflated size
        at += 4
    small = taken(bomb, max_image_bytes=999_999)
    assert [why for _, why in small] == ["image_too_large The image has more than 999999 bytes: make it smaller."] * 5
    with pytest.raises(ArchiveTooLargeError, match="inflates to more than 2500000"):
        taken(bomb, max_archive_bytes=2_500_000)
    for _, what in taken(bytes(lying), max_archive_bytes=2_500_000):
        assert isinstance(what, str) or len(what) <= 10


def test_more_entries_than_allowed() -> None:
    """Counted in the directory, folders and other files included; a huge directory is not even read."""
    content = zipped(*((f"{number}/", b"") for number in range(11)))
    with pytest.raises(ArchiveTooLargeError, match="11 entries"):
        taken(content, max_archive_entries=10)
    assert taken(content, max_archive_entries=11) == []
    long_names = zipped(*((f"{'x' * 60_000}{number}", b"") for number in range(20)))
    with pytest.raises(ArchiveTooLargeError, match="more than 10 entries"):
        taken(long_names, max_archive_entries=10)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"no archive" * 100, b"PK\x05\x06" + b"\xff" * 18, b"\x1f\x8b" + b"x" * 99]
)
def test_what_is_no_archive(content: bytes) -> None:
    """One clear error."""
    with pytest.raises(ArchiveError, match="cannot be read"):
        taken(content)


def test_any_damage_is_one_of_our_errors() -> None:
    """Bytes changed, cut out and cut off anywhere never raise anything but the project's own errors."""
    content = zipped(*((f"{number}.jpg", bytes(range(256)) * number) for number in range(5)))
    chance = random.Random(5)  # noqa: S311  not for secrets
    damages: list[Callable[[bytearray], Any]] = [
        lambda data: data.__setitem__(slice(at := chance.randrange(len(data) or 1), at + 1), [chance.randrange(256)]),
        lambda data: data.__delitem__(slice(chance.randrange(len(data) or 1), None)),
        lambda data: data.__delitem__(slice(at := chance.randrange(len(data) or 1), at + 1)),
    ]
    failures = 0
    for number in range(1500):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            damages[number % 3](damaged)
        try:
            taken(bytes(damaged))
        except ShelflineError:
            failures += 1
    assert failures > 300


def test_the_identity_is_that_of_the_bytes() -> None:
    """The same archive is the same submission."""
    first, second = zipped(("a.jpg", b"x")), zipped(("a.jpg", b"y"))
    identities = [tuple(Archive(io.BytesIO(each), Settings()).identity()) for each in (first, first, second)]
    assert identities[0] == identities[1] != identities[2]
