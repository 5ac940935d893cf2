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
_HIDDEN_PATH, _NO_FIELD = 0x7F75, 0x7F76  # numbers that mean nothing
_DIRECTORY_ENTRY, _LOCAL_HEADER = b"PK\x01\x02", b"PK\x03\x04"
_LOCAL_HEADER_BYTES, _ENTRY_BYTES = 30, 46


class ArchiveFile:
    """An archive as a file for zipfile, without what makes it refuse an entry or all of them for a name.

    It has no flags for UTF-8, so zipfile reads every name as cp437, which keeps its bytes. Its extra fields have
    possible sizes, and a name in an entry's own header is the one in the directory, which some tools write in another
    encoding. Very large reads are refused, since zipfile reads the whole directory of an archive at once.
    """

    def __init__(self, content: BinaryIO, entries: int) -> None:
        self._content = content
        self._entries = entries
        self._name_bytes = 0  # that are read next, of the name in an entry's own header
        self.opened_name = b""  # of the entry that is opened, as in the directory
        self._max_read = 1_000_000 + entries * _DIRECTORY_BYTES_AN_ENTRY

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes; raises ArchiveTooLargeError."""
        if count > self._max_read:
            raise ArchiveTooLargeError(f"The archive has more than {self._entries} entries: split it.")
        data = self._content.read(count)
        if data.startswith(_DIRECTORY_ENTRY):
            return _readable(data)
        if self.opened_name and count == self._name_bytes:
            self._name_bytes, name = 0, self.opened_name
            return name
        if count == _LOCAL_HEADER_BYTES and len(data) == count and data.startswith(_LOCAL_HEADER):
            self._name_bytes = int.from_bytes(data[26:28], "little")
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


def _readable(directory: bytes) -> bytes:
    """Return a directory without flags for UTF-8, in which each extra field ends with the extra fields.

    The Unicode Path field gets another number, since zipfile of Python 3.13 refuses an archive in which one is damaged.
    """
    changed, start = bytearray(directory), 0
    while changed.startswith(_DIRECTORY_ENTRY, start) and start + _ENTRY_BYTES <= len(changed):
        changed[start + 9] &= ~(_UTF8_FLAG >> 8)
        name, extra, comment = struct.unpack_from("<3H", changed, start + 28)
        at = start + _ENTRY_BYTES + name
        end = min(at + extra, len(changed))
        while at + 4 <= end:
            kind, size = struct.unpack_from("<HH", changed, at)
            if size > end - at - 4:
                kind, size = _NO_FIELD, end - at - 4
            struct.pack_into("<HH", changed, at, _HIDDEN_PATH if kind == _UNICODE_PATH else kind, size)
            at += 4 + size
        start += _ENTRY_BYTES + name + extra + comment
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
    return _unicode_path(entry.extra, zlib.crc32(raw)) or _utf8(raw) or (None if raw else "")


def _utf8(raw: bytes) -> str:
    """Return a name in UTF-8, '' if it is not that."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""


def _unicode_path(extra: bytes, crc: int) -> str:
    """Return the name in the Unicode Path field, '' if there is none or its entry was renamed since."""
    start = 0
    while start + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, start)
        if kind == _HIDDEN_PATH and size > 5:
            version, name_crc = struct.unpack_from("<BI", extra, start + 4)
            name = extra[start + 9 : start + 4 + size]
            return _utf8(name) if (version, name_crc) == (1, crc) else ""
        start += 4 + size
    return ""
