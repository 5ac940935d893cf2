"""Read the text files that users write: contracts and labels. They must be UTF-8; a byte order mark is left out."""

from __future__ import annotations

import codecs
from pathlib import Path

from serving.errors import ContractError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_utf8(path: Path) -> str:
    """Return the text of a file.

    Raises ContractError if the file cannot be read, or is not UTF-8. The error then names the encoding that the file
    seems to have, and the command that converts it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ContractError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        if content.startswith(_UTF_16):
            raise ContractError(_refusal(path, "UTF-16"))
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if _is_gbk(content):
            raise ContractError(_refusal(path, "GBK")) from error
        line = content.count(b"\n", 0, error.start) + 1
        raise ContractError(
            f"{path}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8."
        ) from error


def _is_gbk(content: bytes) -> bool:
    """Return whether bytes that are not UTF-8 are text in GBK: they decode, and most of what is not ASCII is Chinese.

    Text in Latin-1 decodes in parts by chance, to characters that Chinese texts hardly use.
    """
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    foreign = [character for character in text if not character.isascii()]
    common = sum(len(character.encode("gb2312", "ignore")) == 2 for character in foreign)
    return 2 * common > len(foreign)


def _refusal(path: Path, encoding: str) -> str:
    return f"{path} is {encoding} text: save it as UTF-8, or convert it with `iconv -f {encoding} -t UTF-8 FILE > NEW`."
