"""List, roll back and remove exported versions, without TensorFlow."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ExportError
from exporter.versions.folders import complete_versions, used_numbers
from serving.contract import Contract
from serving.errors import ContractError

CONTRACT_FILE = "assets.extra/contract.json"
_DISABLED = re.compile(r"([0-9]+)\.disabled")


@dataclass(frozen=True)
class VersionRecord:
    """A version: its folder, whether a server may load it, its size in bytes, and its contract if it has one."""

    model: str
    number: int
    path: Path
    enabled: bool
    size: int
    contract: Contract | None


def write_contract(folder: Path, contract: Contract) -> None:
    """Write a copy of the contract into a SavedModel's folder, so that it can be read without running the model."""
    path = folder / CONTRACT_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(contract.to_json(), "utf-8")


def list_versions(models: Path, name: str | None = None) -> list[VersionRecord]:
    """List the versions of one model or of all, by name, newest first. Raises ExportError if there are none."""
    folders = [models / name] if name else sorted(path for path in models.glob("*") if path.is_dir())
    records = [record for folder in folders for record in _versions(folder)]
    if not records:
        raise ExportError(
            f"There is no exported model in {models / name if name else models}: export one, or name another folder "
            "with --models."
        )
    return records


def roll_back(model: Path, number: int) -> list[int]:
    """Make a version the newest that a server may load. Return the numbers of the versions that were disabled.

    Newer versions become `N.disabled`, and their numbers are never used again. If the version itself is disabled, it is
    enabled. Raises ExportError if there is no such version.
    """
    enabled, disabled = _require_version(model, number)
    try:
        if number not in enabled:
            disabled[number].rename(model / str(number))
        # Ascending order: a server that polls in between keeps the newest version and loads no intermediate version.
        newer = sorted(other for other in enabled if other > number)
        for other in newer:
            enabled[other].rename(model / f"{other}.disabled")
    except OSError as error:
        raise ExportError(f"Cannot rename a version of {model}: {error.strerror}.") from error
    return newer


def remove(model: Path, number: int) -> None:
    """Delete a version. Raises ExportError if it is the newest, which is served, or if there is no such version.

    Its number is never used again: if no higher number is in use, an empty folder `N.disabled` remains.
    """
    enabled, disabled = _require_version(model, number)
    if number == max(enabled, default=0):
        raise ExportError(f"Version {number} of {model} is the newest, which is served: to remove it, roll back first.")
    try:
        # Rename first: a server must not find a numbered folder with only some of its files.
        doomed = model / f".removing-{secrets.token_hex(6)}"
        (enabled.get(number) or disabled[number]).rename(doomed)
        if number > max(used_numbers(model), default=0):
            (model / f"{number}.disabled").mkdir()
        shutil.rmtree(doomed)
    except OSError as error:
        raise ExportError(f"Cannot remove version {number} of {model}: {error.strerror}.") from error


def _require_version(model: Path, number: int) -> tuple[dict[int, Path], dict[int, Path]]:
    """Return the folders of the enabled and of the disabled versions. Raises ExportError if `number` is in neither."""
    enabled, disabled = complete_versions(model), _disabled(model)
    if number not in {*enabled, *disabled}:
        numbers = ", ".join(map(str, sorted({*enabled, *disabled}))) or "none"
        raise ExportError(f"{model} has no version {number}; it has {numbers}.")
    return enabled, disabled


def _versions(model: Path) -> list[VersionRecord]:
    versions = [(number, path, True) for number, path in complete_versions(model).items()]
    versions += [(number, path, False) for number, path in _disabled(model).items()]
    return [
        VersionRecord(model.name, number, path, enabled, _size(path), _contract(path))
        for number, path, enabled in sorted(versions, reverse=True)
    ]


def _disabled(model: Path) -> dict[int, Path]:
    """Return the folders of the disabled versions that still have their files, by number."""
    if not model.is_dir():
        return {}
    disabled = {int(match[1]): path for path in model.iterdir() if (match := _DISABLED.fullmatch(path.name))}
    return {number: path for number, path in disabled.items() if (path / "saved_model.pb").is_file()}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _contract(path: Path) -> Contract | None:
    try:
        return Contract.from_json((path / CONTRACT_FILE).read_bytes())
    except (OSError, ContractError):
        return None
