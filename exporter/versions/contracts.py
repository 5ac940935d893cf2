"""Makes contracts, and turns what is wrong with one into a line that says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import ExportError
from exporter.versions.folders import model_folder
from serving.contract import Contract
from serving.description import Description, read_description


def make_contract(**fields: Any) -> Contract:  # noqa: ANN401 - pydantic checks the fields
    """A contract of `fields`; raises ExportError that names the first wrong one."""
    try:
        return Contract(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "contract"
        raise ExportError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error


def read_contract(path: Path, models: Path, *, name: str | None, weights_sha256: str) -> tuple[Description, Path]:
    """A TOML file's description, under another `name` if given and with the weights' digest, and the model's folder.

    Raises ContractError for the file and ExportError for the name.
    """
    description = read_description(path)
    model = model_folder(models, name or description.contract.name)
    contract = description.contract.model_copy(update={"name": model.name, "weights_sha256": weights_sha256})
    return description.model_copy(update={"contract": contract}), model
