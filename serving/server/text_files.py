"""Read files in protobuf's text format, the format of tensorflow_model_server's settings."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from serving.server.errors import SetupError
from serving.wire.protos import ProtoMessage


def read_text_message(message: ProtoMessage, path: Path) -> ProtoMessage:
    """Read a message of the given class. Raises SetupError, in one line, if the file cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SetupError(f"cannot read {path}: {reason}") from error
    try:
        return text_format.Parse(text, message())
    except text_format.ParseError as error:
        name = message.DESCRIPTOR.full_name
        detail = " ".join(str(error).split())
        raise SetupError(f"Error parsing text-format {name}: {detail} (Invalid protobuf file: '{path}')") from error
