"""Makes contracts, and turns what is wrong with one into a line that says what to mend."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from exporter.errors import ExportError
from serving.contract import Contract


def make_contract(**fields: Any) -> Contract:  # noqa: ANN401 - pydantic checks the fields
    """A contract of `fields`; raises ExportError that names the first wrong one."""
    try:
        return Contract(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "contract"
        raise ExportError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error
