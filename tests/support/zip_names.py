"""Zip archives whose names are stored as various tools store them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

_UTF8_FLAG = 0x800


def archive_named(
    names: list[bytes], *, flagged: bool = False, extra: bytes = b"", own_names: list[bytes] | None = None
) -> bytes:
    """Return an archive with an entry for each name, whose content is its number.

    The names are stored as these bytes, with or without the flag for UTF-8, and with an extra field. `own_names` are
    those in the entries' own headers, of the same lengths, if they differ from the directory's.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(str(number).ljust(len(name), "x"))
            info.extra = extra
            archive.writestr(info, str(number))
    changed = bytearray(content.getvalue())
    for signature, flag_at, name_at, here in (
        (b"PK\x03\x04", 6, 30, own_names or names),
        (b"PK\x01\x02", 8, 46, names),
    ):
        start = 0
        for name in here:
            start = changed.index(signature, start)
            (flags,) = struct.unpack_from("<H", changed, start + flag_at)
            struct.pack_into("<H", changed, start + flag_at, flags | _UTF8_FLAG if flagged else flags)
            changed[start + name_at : start + name_at + len(name)] = name
            start += name_at
    return bytes(changed)


def unicode_path(stored: bytes, name: str) -> bytes:
    """Return the extra field 0x7075, which gives the name in UTF-8 for an entry whose header has other bytes."""
    data = struct.pack("<BI", 1, zlib.crc32(stored)) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data
