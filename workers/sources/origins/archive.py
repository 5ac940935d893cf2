"""Zip archives: each entry's name and kind is checked and its bytes are counted. No entry's name is used as a path."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from workers.errors import ArchiveEntryError, ArchiveError, ArchiveTooLargeError, ImageTooLargeError
from workers.io.names import WESTERN, control_in, count_skipped, is_image_name, is_left_out, without_controls
from workers.settings import Settings
from workers.sources.origins.archive_names import ArchiveFile, decode_names
from workers.sources.origins.origin import MAX_NAME_CHARS, Notes, Part, sha256
from workers.sources.references import failed_ref

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ENCRYPTED = 0x1
_NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_DOTS = {".", ".."}
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SEPARATOR = re.compile(r"[\\/]")
_METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
_DAMAGE = (  # what zipfile and the decompressors raise
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    OverflowError,
)


class Archive:
    """The images of a zip archive, in the archive's order.

    Entries that are not named like images are left out and counted, as in a folder. But an archive in the archive
    becomes a failed image: its images would otherwise be missing without notice.
    """

    empty = "The archive has no image files (jpg, png, webp, ...)."

    def __init__(self, content: BinaryIO, settings: Settings) -> None:
        self._content = content
        self._settings = settings
        self._methods = {_METHODS[method] for method in settings.archive_methods}
        self.notes = Notes()

    def identity(self) -> Iterator[str]:
        """Yield the kind and the archive's hash."""
        yield from ("archive", sha256(self._content))

    def parts(self) -> Iterator[Part]:
        """Yield the images. Raises ArchiveError, ArchiveTooLargeError."""
        self._content.seek(0)
        max_entries = self._settings.max_archive_entries
        content = ArchiveFile(self._content, max_entries)
        try:
            opened = zipfile.ZipFile(cast("IO[bytes]", content))
        except _DAMAGE as error:
            raise ArchiveError(f"The archive cannot be read: {str(error)[:200]}. Send a zip file.") from error
        with opened:
            entries = opened.infolist()
            if len(entries) > max_entries:
                raise ArchiveTooLargeError(
                    f"The archive has {len(entries)} entries, and {max_entries} are allowed: split it."
                )
            budget = _Budget(self._settings.max_archive_bytes)
            names, self.notes.name_encoding = decode_names(entries, self._settings.archive_encoding)
            for entry, name in zip(entries, names, strict=True):
                if _is_image(name, self.notes.skipped):
                    yield self._part(opened, content, entry, name, budget)

    def _part(
        self, opened: zipfile.ZipFile, content: ArchiveFile, entry: zipfile.ZipInfo, entry_name: str, budget: _Budget
    ) -> Part:
        name = _shown(entry_name)
        problem = _problem(entry, entry_name, self._methods)
        if problem:
            return Part(name, ref=failed_ref(ArchiveEntryError(problem)))
        inflating = _Inflating(opened, content, entry, self._settings.max_image_bytes, budget)
        return Part(name, cast("BinaryIO", inflating))


def _is_image(entry_name: str, skipped: dict[str, int]) -> bool:
    """Return whether an entry's name says that it is an image or an archive; other files are counted in `skipped`."""
    *folders, name = _SEPARATOR.split(entry_name)
    if not name or any(is_left_out(folder) for folder in folders if folder not in _DOTS):
        return False
    if is_image_name(name) or (name.lower().endswith(_NESTED) and not name.startswith(".")):
        return True
    count_skipped(skipped, name)
    return False


def _problem(entry: zipfile.ZipInfo, name: str, methods: set[int]) -> str:
    """Return why an entry is refused, '' if it is not."""
    control = control_in(name)
    checks = (
        (len(name) > MAX_NAME_CHARS, f"The entry's name is longer than {MAX_NAME_CHARS} characters: shorten it."),
        (control, f"The entry's name has the control character {control}: rename the file."),
        (
            name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in _SEPARATOR.split(name),
            "The entry's name leads out of the archive: it must be relative, without `..` and drives.",
        ),
        (
            stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG},
            "The entry is a link or a device, not a file.",
        ),
        (entry.flag_bits & _ENCRYPTED, "The entry is encrypted: send the archive without a password."),
        (name.lower().endswith(_NESTED), "The entry is an archive itself: send its images."),
        (
            entry.compress_type not in methods,
            f"The entry is compressed by method {entry.compress_type}, which is not allowed: use deflate.",
        ),
    )
    return next((problem for failed, problem in checks if failed), "")


def _shown(name: str) -> str:
    """Return a name that results can show: printable and of bounded length."""
    return without_controls(name)[:MAX_NAME_CHARS]


class _Budget:
    """The bytes that an archive may still inflate to."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ArchiveTooLargeError(f"The archive inflates to more than {self._max_bytes} bytes: split it.")


class _Inflating(io.RawIOBase):
    """An entry's bytes, counted while they inflate, since the sizes that the archive declares may be false."""

    def __init__(
        self,
        opened: zipfile.ZipFile,
        content: ArchiveFile,
        entry: zipfile.ZipInfo,
        max_bytes: int,
        budget: _Budget,
    ) -> None:
        super().__init__()
        self._opened, self._content, self._entry = opened, content, entry
        self._max_bytes, self._count = max_bytes, 0
        self._budget = budget
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        try:
            if self._file is None:
                self._content.opened_name = self._entry.orig_filename.encode(WESTERN)
                self._file = self._opened.open(self._entry)
                self._content.opened_name = b""
            data = self._file.read(len(view))
        except _DAMAGE as error:
            raise ArchiveEntryError(
                f"The entry is damaged: {str(error)[:200].rstrip('.') or 'it ends too early'}."
            ) from error
        self._count += len(data)
        if self._count > self._max_bytes:
            raise ImageTooLargeError(f"The image has more than {self._max_bytes} bytes: make it smaller.")
        self._budget.spend(len(data))
        view[: len(data)] = data
        return len(data)
