"""The names of a zip archive's entries, whatever their encoding: zip tools of Windows and macOS often do not say it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from workers.errors import ArchiveTooLargeError
from workers.io.names import WESTERN, guess_encoding

_DIRECTORY_BYTES_AN_ENTRY = 160  # in the central directory: 46, and room for the name and times
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # extra field of Info-ZIP (APPNOTE.TXT, 4.6.9): version, CRC of the name in the header, UTF-8
_DIRECTORY_ENTRY, _LOCAL_HEADER = b"PK\x01\x02", b"PK\x03\x04"
_LOCAL_HEADER_BYTES, _ENTRY_BYTES = 30, 46


class ArchiveFile:
    """An archive as a file for zipfile, which it reads without the flags for UTF-8.

    So zipfile reads every name as cp437, which keeps its bytes, and a name that is wrongly flagged does not make the
    whole archive unreadable. Very large reads are refused, since zipfile reads the whole directory of an archive at
    once.
    """

    def __init__(self, content: BinaryIO, entries: int) -> None:
        self._content = content
        self._entries = entries
        self._max_read = 1_000_000 + entries * _DIRECTORY_BYTES_AN_ENTRY

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes; raises ArchiveTooLargeError."""
        if count > self._max_read:
            raise ArchiveTooLargeError(f"The archive has more than {self._entries} entries: split it.")
        data = self._content.read(count)
        if data.startswith(_DIRECTORY_ENTRY):
            return _without_flags(data)
        if count == _LOCAL_HEADER_BYTES and len(data) == count and data.startswith(_LOCAL_HEADER):
            return data[:7] + bytes((data[7] & ~(_UTF8_FLAG >> 8),)) + data[8:]
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position and return it."""
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._content.tell()

    def seekable(self) -> bool:
        """Return True."""
        return True


def _without_flags(directory: bytes) -> bytes:
    changed, start = bytearray(directory), 0
    while changed.startswith(_DIRECTORY_ENTRY, start) and start + _ENTRY_BYTES <= len(changed):
        changed[start + 9] &= ~(_UTF8_FLAG >> 8)
        start += _ENTRY_BYTES + sum(struct.unpack_from("<3H", changed, start + 28))  # its name, extra fields, comment
    return bytes(changed)


def decode_names(entries: Sequence[zipfile.ZipInfo], encoding: str) -> tuple[list[str], str]:
    """Return the name of each entry with `/` between folders, and the encoding that was guessed, '' if none was.

    A name is taken from the Unicode Path field, else it is UTF-8 if it can be read so, flagged or not. The encoding of
    all others is guessed from all of them together; `encoding` is taken where they do not tell. In a name without `/`,
    backslashes are the separators.
    """
    raw_names = [entry.orig_filename.encode(WESTERN) for entry in entries]
    names = [_stated(raw, entry) for raw, entry in zip(raw_names, entries, strict=True)]
    unstated = [raw for raw, name in zip(raw_names, names, strict=True) if name is None]
    guessed = guess_encoding(unstated, encoding) if unstated else ""
    decoded = [raw.decode(guessed) if name is None else name for raw, name in zip(raw_names, names, strict=True)]
    return [name if "/" in name else name.replace("\\", "/") for name in decoded], guessed


def _stated(raw: bytes, entry: zipfile.ZipInfo) -> str | None:
    """Return the name that an entry states in UTF-8, None if it states none."""
    try:
        return _unicode_path(entry.extra, zlib.crc32(raw)) or raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unicode_path(extra: bytes, crc: int) -> str:
    """Return the name in the Unicode Path field, '' if there is none or its entry was renamed since."""
    start = 0
    while start + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, start)
        if kind == _UNICODE_PATH and size > 5:
            version, name_crc = struct.unpack_from("<BI", extra, start + 4)
            name = extra[start + 9 : start + 4 + size]
            return name.decode("utf-8", "replace") if (version, name_crc) == (1, crc) else ""
        start += 4 + size
    return ""
