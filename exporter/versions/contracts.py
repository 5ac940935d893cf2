"""Make contracts, and report an invalid field in one line that says what to fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import ExportError
from exporter.versions.folders import model_folder
from serving.contract import Contract, first_problem
from serving.description import Description, read_description


def make_contract(**fields: Any) -> Contract:  # noqa: ANN401 - pydantic checks the fields
    """Make a contract of `fields`. Raises ExportError, which names the first invalid field."""
    try:
        return Contract(**fields)
    except ValidationError as error:
        raise ExportError(f"{first_problem(error)}.") from error


def read_contract(path: Path, models: Path, *, name: str | None, weights_sha256: str) -> tuple[Description, Path]:
    """Read a description from a TOML file. Return it and the folder of the model.

    Its contract gets `weights_sha256`, and `name` if given. Raises ContractError for an invalid file, ExportError for
    an invalid name.
    """
    description = read_description(path)
    model = model_folder(models, name or description.contract.name)
    return description.named(model.name, weights_sha256), model
