"""Names of files: which characters they may have, which are images, and the encoding of those that do not say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import unquote

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]+$"  # a JSON schema's pattern; JSON text has no lone surrogates

# Of all that `str.isprintable` refuses, these characters alone are no part of a name: C0, DEL, C1 and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_SUFFIXES = 20  # of skipped files that are counted apart
NO_SUFFIX, OTHER_SUFFIXES = "none", "other"
_MAX_SUFFIX_CHARS = 16
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))
# Folders of previews, of resource forks and of deleted files, which systems and NAS boxes make beside the photos.
_SYSTEM_FOLDERS = frozenset(("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin"))

# The encodings that a name is guessed from, and the bytes of their frequent characters: kana, Hangul, and the first
# level of each set of Chinese characters.
_FREQUENT = {
    "gb18030": re.compile(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]"),
    "cp932": re.compile(rb"[\x88-\x97][\x40-\xfc]|\x82[\x4f-\xf1]|\x83[\x40-\x96]|\x81[\x40-\xac]"),
    "cp950": re.compile(rb"[\xa1-\xc6][\x40-\xfe]"),
    "cp949": re.compile(rb"[\xb0-\xc8][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]"),
}
GUESSED = tuple(_FREQUENT)
_SURE = 0.7  # share of frequent characters from which a guess is taken
_COMPARED = 4000  # characters beyond ASCII that a guess looks at
WESTERN = "cp437"  # the encoding of a zip name that says none; every byte is a character of it


def control_in(text: str) -> str:
    """Return the first control character or lone surrogate of a text as `U+000A`, '' if it has none."""
    match = _CONTROL.search(text)
    return f"U+{ord(match[0]):04X}" if match else ""


def printable(name: str) -> str:
    """Return a file's name as text that any JSON reader accepts: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def without_controls(name: str) -> str:
    """Return a file's name with U+FFFD for each control character, and with bytes that are not UTF-8 escaped."""
    return _CONTROL.sub("\ufffd", printable(name))


def escaped_controls(name: str) -> str:
    """Return a name that is safe on a terminal: each control character is written as its escape."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], name)


def percent_decoded(name: str) -> str:
    """Return a name of a URL without its percent-encoding, unless it encodes control characters or is not UTF-8."""
    try:
        decoded = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name
    return name if control_in(decoded) else decoded


def is_image_name(name: str) -> bool:
    """Return whether a file's name has the suffix of an image and is not hidden."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_left_out(folder: str) -> bool:
    """Return whether the photos in a folder of this name are left out: it is hidden, or a system made it for itself."""
    return folder.startswith(".") or folder.lower() in _SYSTEM_FOLDERS


def count_skipped(counts: dict[str, int], name: str) -> None:
    """Count a file that is not named like an image by its suffix in lower case.

    Hidden files and those that systems make for themselves are not counted. Files without a suffix are counted as
    `NO_SUFFIX`; all beyond `MAX_SUFFIXES` suffixes, and suffixes that are too long, as `OTHER_SUFFIXES`.
    """
    if name.startswith(".") or name.lower() in _SYSTEM_FILES:
        return
    suffix = without_controls(PurePosixPath(name).suffix.lower()) or NO_SUFFIX
    if len(suffix) > _MAX_SUFFIX_CHARS or (suffix not in counts and len(counts) >= MAX_SUFFIXES):
        suffix = OTHER_SUFFIXES
    counts[suffix] = counts.get(suffix, 0) + 1


def in_words(counts: Mapping[str, int]) -> str:
    """Return what `count_skipped` counted as people read it: `2 .heic, 1 without a suffix`."""
    kinds = {NO_SUFFIX: "without a suffix", OTHER_SUFFIXES: "of other kinds"}
    return ", ".join(f"{count:,} {kinds.get(suffix, suffix)}" for suffix, count in counts.items())


def guess_encoding(names: Sequence[bytes], first: str) -> str:
    """Return the encoding in which all names can be decoded and most of their characters are frequent ones.

    `first` wins a tie. It is also taken where no encoding has mostly frequent characters, and always if it is none of
    those that can be guessed. If nothing fits, the encoding is `WESTERN`.
    """
    joined = b"\n".join(names)
    shares = {encoding: _share(joined, encoding) for encoding in dict.fromkeys((first, *_FREQUENT))}
    if first not in _FREQUENT:
        return WESTERN if shares[first] is None else first
    best = max(shares, key=lambda encoding: shares[encoding] or 0.0)
    if (shares[best] or 0.0) >= _SURE:
        return best
    fits = shares[first] is not None and not any(western for _, western in _beyond_ascii(joined.decode(first), first))
    return first if fits else WESTERN


def _share(joined: bytes, encoding: str) -> float | None:
    """Return the share of frequent characters among those beyond ASCII, None if the bytes are not in the encoding."""
    try:
        text = joined.decode(encoding)
    except UnicodeDecodeError:
        return None
    if encoding not in _FREQUENT:
        return 0.0
    chars = list(islice(_beyond_ascii(text, encoding), _COMPARED))
    count = sum(not western and bool(_FREQUENT[encoding].fullmatch(raw)) for raw, western in chars)
    return count / max(1, len(chars))


def _beyond_ascii(text: str, encoding: str) -> Iterable[tuple[bytes, bool]]:
    """Yield the bytes of each character beyond ASCII, and whether they are rather a part of a Western word."""
    for match in re.finditer(r"[^\x00-\x7f]", text):
        raw = match[0].encode(encoding)
        before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
        yield raw, _is_letter(before) and (_is_letter(after) or _is_letter(chr(raw[-1])))


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()
