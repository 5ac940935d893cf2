"""The rows of a manifest: JSON lines, or CSV with a header, in UTF-8 or in what Excel writes instead.

A line that cannot be read becomes a row that is wrong in itself. The lines around it are read.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

from workers.errors import ManifestError
from workers.io.names import GUESSED, WESTERN, guess_encoding

FIELDS = ("path", "url", "name", "custom_id")

Row = Mapping[str, Any] | ManifestError  # a row's fields, or what is wrong with the whole row

_MAX_LINE = 65_536  # bytes, in UTF-8
_PIECE_BYTES = 65_536
_COMPARED_BYTES = 1_000_000  # of lines that are not UTF-8, by which their encoding is guessed
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NO_UTF8 = b"\xff"
# The first line may be one that is no JSON. CSV may have a path in braces, but not with a quotation mark behind one.
_JSON_LINES = re.compile(rb'\s*\{|[^\r\n]*[\r\n]\s*\{\s*"')
_NAMED_SEPARATOR = re.compile(r"sep=([,;\t|])", re.IGNORECASE)  # the line in which a CSV file tells Excel its separator
_OPEN_QUOTE = "unexpected end of data"  # what Python's csv says of it


def read_rows(content: BinaryIO, encoding: str) -> tuple[Iterator[tuple[int, Row]], str]:
    """Return the rows of a manifest, each with the number of its line, and the encoding that was guessed, '' if none.

    A manifest is UTF-8, or UTF-16 with a byte order mark. If most of its lines beyond ASCII are not UTF-8, their
    encoding is guessed as that of an archive's names is; `encoding` is taken where they do not tell. A row's cell has
    no line break, so each line that is not empty is a row. Raises ManifestError if the file is no manifest.
    """
    start = next(_utf8_pieces(content), b"")
    if b"\0" in start[:16]:
        raise ManifestError(
            "The manifest is no text in UTF-8, or in UTF-16 with a byte order mark: save it as JSON lines, or as CSV "
            "(in Excel as `CSV UTF-8`)."
        )
    if start.lstrip().startswith(b"["):
        raise ManifestError("The manifest is a JSON array: write each of its objects in a line of its own instead.")
    guessed = "" if _is_utf16(content) else _guess(content, encoding)
    lines = _texts(_lines(content), guessed)
    return _json_rows(lines) if _JSON_LINES.match(start) else _csv_rows(lines), guessed


def is_empty(value: object) -> bool:
    """Return whether a cell is empty or blank: Excel writes such columns and rows."""
    return value is None or (isinstance(value, str) and not value.strip())


def _json_rows(lines: Iterator[tuple[int, str | ManifestError]]) -> Iterator[tuple[int, Row]]:
    for number, line in lines:
        if isinstance(line, ManifestError):
            yield number, line
        elif line.strip():
            yield number, _json_row(line, number)


def _json_row(line: str, number: int) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:  # its text counts lines within the row
        return ManifestError(
            f"Row {number} of the manifest is not JSON: {error.msg} at character {error.pos + 1}. "
            "Write one object in a line."
        )
    except (ValueError, RecursionError) as error:
        return ManifestError(f"Row {number} of the manifest is not JSON: {str(error)[:200]}.")
    return row if isinstance(row, dict) else ManifestError(f"Row {number} of the manifest is not a JSON object.")


def _csv_rows(lines: Iterator[tuple[int, str | ManifestError]]) -> Iterator[tuple[int, Row]]:
    header: list[str] = []
    named = separator = ""
    for number, line in lines:
        if isinstance(line, str) and not header:
            if number == 1 and (match := _NAMED_SEPARATOR.fullmatch(line)):
                named = match[1]
                continue
            separator = named or _separator(line)
        cells = line if isinstance(line, ManifestError) else _cells(line, separator, number)
        if not header:
            header = _header(cells, number)
        elif isinstance(cells, ManifestError):
            yield number, cells
        elif not all(map(is_empty, cells[len(header) :])):
            problem = f"Row {number} of the manifest has more fields than the header"
            yield number, ManifestError(f"{problem}: put a cell that has a {separator!r} in quotation marks.")
        elif not all(map(is_empty, cells)):
            yield number, {name: cell for name, cell in zip(header, cells, strict=False) if not is_empty(cell)}


def _separator(header: str) -> str:
    """Return what separates the cells of a CSV file: a comma, or what Excel writes in countries with decimal commas."""
    return next((separator for separator in ",;\t" if separator in header), ",")


def _cells(line: str, separator: str, number: int) -> list[str] | ManifestError:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        reason = "a quotation mark is not closed" if str(error) == _OPEN_QUOTE else error
        return ManifestError(
            f"Row {number} of the manifest is not CSV: {reason}. In a quoted cell, write each quotation mark twice and "
            "no line break."
        )


def _header(cells: Sequence[str] | ManifestError, number: int) -> list[str]:
    """Return the names of the columns, none if the line is empty. Raises ManifestError.

    Known names may be written with capitals, and with spaces around them.
    """
    if isinstance(cells, ManifestError):
        raise cells
    columns = [name.strip().lower() if name.strip().lower() in FIELDS else name.strip() for name in cells]
    names = [name for name in columns if name]
    if names and not {"path", "url"}.intersection(names):
        raise ManifestError(
            f"Line {number} of the manifest names no column `path` or `url`: begin a CSV file with the names of its "
            f"columns ({', '.join(FIELDS)}), or write JSON objects, one a line."
        )
    twice = next((name for name in FIELDS if names.count(name) > 1), "")
    if twice:
        raise ManifestError(f"Line {number} of the manifest names the column `{twice}` twice: remove one of them.")
    return columns if names else []


def _texts(lines: Iterator[bytes], guessed: str) -> Iterator[tuple[int, str | ManifestError]]:
    """Yield the number and the text of each line, or what is wrong with it."""
    for number, line in enumerate(lines, 1):
        yield number, _text(line, number, guessed)


def _text(line: bytes, number: int, guessed: str) -> str | ManifestError:
    if len(line) > _MAX_LINE:
        return ManifestError(f"Line {number} of the manifest is longer than {_MAX_LINE} bytes: shorten it.")
    try:
        return line.decode(guessed or "utf-8")
    except UnicodeDecodeError:
        known = f"{guessed}, as its other lines are" if guessed else "UTF-8"
        return ManifestError(
            f"Line {number} of the manifest is not {known}: save the manifest as UTF-8 (in Excel as `CSV UTF-8`)."
        )


def _guess(content: BinaryIO, first: str) -> str:
    """Return the encoding of a manifest that is not UTF-8; '' if it is, or if its characters do not tell."""
    others = list[bytes]()
    other_bytes = in_utf8 = in_another = 0
    for line in _lines(content):
        if line.isascii() or len(line) > _MAX_LINE:
            continue
        if _fits(line, "utf-8"):
            in_utf8 += 1
            continue
        in_another += 1
        if other_bytes + len(line) <= _COMPARED_BYTES:
            others.append(line)
            other_bytes += len(line)
    return _guess_of(others, first) if in_another > in_utf8 else ""


def _guess_of(lines: Sequence[bytes], first: str) -> str:
    """Return the encoding of most of these lines, '' if their characters do not tell."""
    guessed = guess_encoding(lines, first)
    # An archive's name needs some reading, so it gets cp437; nobody writes a manifest in that, unless they say it.
    if guessed != WESTERN or first == WESTERN:
        return guessed
    for encoding in dict.fromkeys((first, *GUESSED)):  # a damaged line may fit no encoding
        fitting = [line for line in lines if _fits(line, encoding)]
        if 2 * len(fitting) > len(lines) and guess_encoding(fitting, first) == encoding:
            return encoding
    return ""


def _fits(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _lines(content: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a text in UTF-8, without their ends; of a line that is too long, one byte too many or two."""
    pending = b""
    for piece in _utf8_pieces(content):
        lines = (pending + piece).splitlines(keepends=True)
        pending = b"" if lines[-1].endswith(b"\n") else lines.pop()  # the other half of a `\r\n` may follow
        yield from (line.rstrip(b"\r\n")[: _MAX_LINE + 1] for line in lines)
        if len(pending) > _MAX_LINE:
            pending = pending[: _MAX_LINE + 1] + pending[-1:]
    if pending:
        yield pending.rstrip(b"\r\n")


def _is_utf16(content: BinaryIO) -> bool:
    """Return whether a text begins with the byte order mark of UTF-16."""
    content.seek(0)
    return content.read(2) in _UTF16


def _utf8_pieces(content: BinaryIO) -> Iterator[bytes]:
    """Yield a text in pieces without its byte order mark, in UTF-8 if it is UTF-16 with that mark, and else as it is.

    What is no character in UTF-16 becomes bytes that are none in UTF-8.
    """
    content.seek(0)
    pieces = iter(partial(content.read, _PIECE_BYTES), b"")
    start = next(pieces, b"")
    if start[:2] not in _UTF16:
        yield from filter(None, chain((start.removeprefix(codecs.BOM_UTF8),), pieces))
        return
    decoder = codecs.getincrementaldecoder(_UTF16[start[:2]])("surrogatepass")
    for piece in chain((start[2:],), pieces):
        if text := decoder.decode(piece):
            yield text.encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield _NO_UTF8
