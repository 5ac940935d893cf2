"""Which models a stack on this machine serves, and which of them jobs use that name none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from api.commands.errors import StackError
from workers.settings import Settings
from workers.settings_checks import models_in

DEFAULT_MODEL: Final = "default"


def main_model(models: Path, settings: Settings, wanted: str | None = None) -> str:
    """Return the default model of a stack that is to be started: the one that must be available first.

    That is `wanted`, the setting, or `default`, which is the demo. If the folder `models` has no `default` but one
    other model, it is that one. Raises StackError if the folder does not have the wanted model, or has several and
    none is wanted.
    """
    if "model_server" in settings.model_fields_set:  # it is not the stack that serves the models
        return settings.model
    if models.exists() and not models.is_dir():
        raise StackError(f"{models.absolute()} is not a folder: name the folder of the models with --models.")
    present = models_in(models)
    if wanted is None and "model" not in settings.model_fields_set:
        if DEFAULT_MODEL in present or not present:
            return DEFAULT_MODEL
        if len(present) > 1:
            raise StackError(
                f"{models.absolute()} has the models {', '.join(present)}, and none that is called {DEFAULT_MODEL}: "
                "choose one with SHELFLINE_MODEL, or with `shelfline detect --model`."
            )
        return present[0]
    name = wanted or settings.model
    if name not in present and name != DEFAULT_MODEL:
        there = f"it has {', '.join(present)}" if present else "it has none"
        raise StackError(
            f"There is no version of the model {name!r} in {models.absolute()}: {there}. Export it first "
            "(`shelfline export --help`), or name another folder with --models."
        )
    return name


def write_model_config(path: Path, models: Path, names: Iterable[str]) -> None:
    """Write the file that `--model_config_file` takes, with the folders of these models. Readers see all or nothing.

    Raises StackError if the path of the models is not UTF-8, which such a file cannot say.
    """
    try:
        paths = {name: _escaped(models.absolute() / name) for name in names}
    except UnicodeEncodeError as error:
        raise StackError(f"The path of {models.absolute()!a} is not UTF-8: rename the folder.") from error
    beside = path.with_name(f"{path.name}.new")
    lines = (
        f'  config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for name, base in paths.items()
    )
    beside.write_text("model_config_list {\n" + "".join(lines) + "}\n")
    beside.replace(path)


def _escaped(path: Path) -> str:
    """Return a path as protobuf's text format writes a string: bytes other than plain ASCII in octal."""
    plain = set(range(32, 127)) - set(b"\"'\\")
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fspath(path).encode())
