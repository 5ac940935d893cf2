"""Import the code that a Keras model needs besides Keras, and say which class or package is missing."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from exporter.errors import ExportError
from exporter.weights.keras2 import unreadable
from exporter.weights.model_code import foreign_classes, keras_version

_UNKNOWN = re.compile(r"(?:Could not locate|Unknown) (\w+):? '([^']+)'")
_KERAS_2_ONLY = frozenset({"TFOpLambda", "SlicingOpLambda"})


def import_modules(names: Sequence[str]) -> dict[str, Any]:
    """Import modules, by name or as `.py` files. Return the classes and functions that they define, by name.

    A name is looked up in the current folder first. Keras finds the returned objects if they are passed to it as
    `custom_objects`. Raises ExportError if there is no such module, or if its import fails.
    """
    objects: dict[str, Any] = {}
    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the command is started without it
    for name in names:
        module = _import(name)
        objects |= {
            key: value
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        }
    return objects


def _import(name: str) -> ModuleType:
    path = Path(name)
    if path.suffix == ".py" and not path.is_file():
        raise ExportError(f"Cannot import {name}: there is no such file.")
    try:
        if path.suffix != ".py":
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # Keras looks classes up by the name of their module
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(
            f"Cannot import {name}: there is no module {error.name}: install its package into this Python "
            f"({sys.executable}), run the command in the folder of {error.name}.py, or name a .py file."
        ) from error
    except Exception as error:  # whatever the module's code raises
        raise ExportError(f"Cannot import {name}: {type(error).__name__}: {_reason(error)}") from error
    return module


def explain(path: Path, error: Exception) -> ExportError:
    """Return the error for a whole Keras model that Keras does not load; it names the class or package that is missing.

    `error` is what Keras raised.
    """
    # A class of the script that trained the model has no module that could be imported.
    foreign = {name: module for module, name in foreign_classes(path) if module != "__main__"}
    for name, module in foreign.items():
        package = module.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            return ExportError(
                f"{path} needs {name} of {module}, but there is no module {package}: install its package into this "
                f"Python ({sys.executable}), or name the file of that class: --trust-model-code --import {package}.py"
            )
    version, reason = keras_version(path), _reason(error)
    unknown = _UNKNOWN.search(" ".join(str(error).split()))
    name = unknown[2].rpartition(">")[2] if unknown else ""
    if unknown and name not in _KERAS_2_ONLY:
        return ExportError(
            f"{path} needs the {unknown[1]} {name}, which Keras does not have: if you trust whoever made the file, "
            f"name the module that defines it: --trust-model-code --import {foreign.get(name, 'MODULE')}"
        )
    if version.startswith("2."):
        return unreadable(path, version, reason)
    return ExportError(f"{path} does not load: {reason}")


def _reason(error: Exception) -> str:
    """Return one line of an error. Keras puts the error of a layer behind its own text and the layer's config."""
    cause = str(error).rpartition("Exception encountered:")[2].strip()
    return (cause.partition("\n")[0].partition(" Full object config:")[0].rstrip(".") or type(error).__name__)[:300]
