"""The folders of a model's versions, `<models>/<name>/<number>/`, without TensorFlow."""

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
_SUFFIX = re.compile(r"(?:\.keras|\.h5|\.hdf5|\.onnx|_saved_model)$")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def model_folder(models: Path, name: str) -> Path:
    """Return the folder of a model's versions. Raises ExportError for an invalid name, which could leave `models`."""
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"name: {name!r} must begin with a letter or digit and contain only letters, digits, '.', '_' and '-'."
        )
    return models / name


def named_folder(models: Path, name: str | None, source: Path) -> Path:
    """Return the folder of the versions of the model `name`, or else of a name that is made of that of `source`.

    Raises ExportError for an invalid name, or if none can be made.
    """
    name = name or name_of_file(source)
    if not name:
        raise ExportError(
            f"No name of a model can be made of {source}, since it may have only letters, digits, '.', '_' and '-': "
            "give one with --name."
        )
    return model_folder(models, name)


def name_of_file(path: Path) -> str:
    """Return a valid name of a model that is made of the name of its file or folder, or '' if nothing is left of it.

    A number and `saved_model` say nothing of a model, so it has the name of the folder around it then.
    """
    path = path.resolve()
    stem = _SUFFIX.sub("", path.name)
    if stem.isdigit() or stem == "saved_model":
        stem = path.parent.name
    return _NOT_IN_NAMES.sub("-", stem).strip("._-")


def complete_versions(model: Path) -> dict[int, Path]:
    """Return the folders of the versions that have a saved_model.pb, by ascending number.

    As in TF Serving, a version is a folder whose name parses as an integer: `00000123` is 123.
    """
    if not model.is_dir():
        return {}
    folders = {int(path.name): path for path in model.iterdir() if _NUMBER.fullmatch(path.name)}
    return {number: folders[number] for number in sorted(folders) if (folders[number] / _MODEL_FILE).is_file()}


def used_numbers(model: Path) -> set[int]:
    """Return every number that a version has or had: folders `N`, complete or not, and `N.disabled`."""
    if not model.is_dir():
        return set()
    return {int(match[1]) for path in model.iterdir() if (match := _USED.fullmatch(path.name))}


def next_free(model: Path) -> int:
    """Return the number after the highest used number; 1 for a new model."""
    return max(used_numbers(model), default=0) + 1


def require_free(model: Path, version: int | None) -> None:
    """Check before the slow work that a version can be written; the check writes nothing.

    Raises VersionExistsError if the number is used, ExportError if the folder is not writable.
    """
    if version is not None and version in used_numbers(model):
        raise VersionExistsError(
            f"Version {version} of {model} is or was in use: leave the number out to get the next free one."
        )
    there = next(path for path in (model, *model.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ExportError(f"Cannot make the folder {model}: {there} is a file. Name another folder with --models.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ExportError(f"Cannot write to {there}: permission denied.")


def publish(model: Path, write: Callable[[Path], None], *, version: int | None = None) -> Path:
    """Write a version into a hidden folder in `model` and rename it, so that no reader sees an incomplete version.

    `write` gets the path of a folder that does not exist yet, and creates it. Without `version`, the version gets the
    next free number. Returns the folder of the version. Raises VersionExistsError if the number is used, ExportError
    if the folder cannot be written. After these errors, or an error of `write`, no files are left.
    """
    require_free(model, version)
    created = _make_folder(model)
    # TF Serving loads any folder with a numeric name, complete or not, so this name must not be numeric.
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
    """Rename a complete version to its number. If another export takes that number first, use the next number."""
    while True:
        number = next_free(model) if version is None else version
        target = model / str(number)
        try:
            return draft.rename(target)  # fails if the version exists: rename does not replace a folder with files
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if version is not None:
                raise VersionExistsError(
                    f"Version {number} of {model} exists by now, from another export: choose another number."
                ) from None


def _make_folder(model: Path) -> list[Path]:
    """Create the model's folder. Return the folders that were created, innermost first."""
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
