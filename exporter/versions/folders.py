"""The versions of a model as folders: `<models>/<name>/<number>/`. Imports no TensorFlow."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from exporter.errors import ExportError, VersionExistsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NUMBER = re.compile(r"[0-9]+")
_USED = re.compile(r"([0-9]+)(?:\.disabled)?")
_MODEL_FILE = "saved_model.pb"


def model_folder(models: Path, name: str) -> Path:
    """The folder of a model's versions; raises ExportError for a name that would lead out of `models`."""
    if not _NAME.fullmatch(name):
        raise ExportError(f"name: {name!r} must begin with a letter or digit and hold only those, '.', '_' and '-'.")
    return models / name


def complete_versions(model: Path) -> dict[int, Path]:
    """The versions in a model's folder that hold a SavedModel, by ascending number; empty where there are none.

    As TF Serving reads it, a version is a folder whose name parses as an integer: `00000123` is 123.
    """
    if not model.is_dir():
        return {}
    found = {int(path.name): path for path in model.iterdir() if _NUMBER.fullmatch(path.name)}
    return {number: found[number] for number in sorted(found) if (found[number] / _MODEL_FILE).is_file()}


def used_numbers(model: Path) -> set[int]:
    """Every number that a version of the model has or had: folders `N`, complete or not, and `N.disabled`."""
    if not model.is_dir():
        return set()
    return {int(match[1]) for path in model.iterdir() if (match := _USED.fullmatch(path.name))}


def next_free(model: Path) -> int:
    """The number above all that are used; 1 for a new model."""
    return max(used_numbers(model), default=0) + 1


def require_free(model: Path, version: int | None) -> None:
    """Raise ExportError where a version could not be written: its number is used, or the folder is not writable.

    Nothing is made; the slow work can wait until this has passed.
    """
    if version is not None and version in used_numbers(model):
        raise VersionExistsError(
            f"Version {version} of {model} is or was in use: leave the number out to get the next free one."
        )
    there = next(path for path in (model, *model.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ExportError(f"Cannot make the folder {model}: {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ExportError(f"Cannot write to {there}: permission denied.")


def publish(model: Path, write: Callable[[Path], None], *, version: int | None = None) -> Path:
    """Write a version beside its place and rename it there, so that no reader ever sees a half version.

    `write` gets the path of a folder that does not exist yet and makes it. `version` is the next free number where it
    is not given. Returns the version's folder. Raises VersionExistsError for a used number and ExportError where the
    folder cannot be written; then, as when `write` raises, nothing is left behind.
    """
    require_free(model, version)
    created = _make_folder(model)
    # TF Serving takes any folder with a numeric name as it finds it, so this name must not be one.
    draft = model / f".exporting-{secrets.token_hex(6)}"
    published = False
    try:
        write(draft)
        target = _rename(draft, model, version)
        published = True
    except OSError as error:
        raise ExportError(f"Cannot write to {model}: {error.strerror or error}.") from error
    finally:
        if not published:
            shutil.rmtree(draft, ignore_errors=True)
            _remove_empty(created)
    return target


def _rename(draft: Path, model: Path, version: int | None) -> Path:
    """Give a finished draft its number; where two exports ran at once, the second gets the next number."""
    while True:
        number = next_free(model) if version is None else version
        target = model / str(number)
        try:
            return draft.rename(target)  # fails where a version stands: rename replaces no folder that holds something
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if version is not None:
                raise VersionExistsError(f"Version {number} of {model} exists by now.") from None


def _make_folder(model: Path) -> list[Path]:
    """Make the model's folder and return what had to be made, innermost first."""
    missing = [path for path in (model, *model.parents) if not path.exists()]
    try:
        model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"Cannot make the folder {model}: {error.strerror or error}.") from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # another export uses it by now
            return
