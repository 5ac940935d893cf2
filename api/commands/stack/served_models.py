"""Which models a stack on this machine serves, and which of them jobs use that name none."""

from __future__ import annotations

import os
import socket
import threading
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


class ModelConfigFile:
    """The file that names the models of a folder to the model server (`--model_config_file`), which looks at it again.

    A server opens its port when all models of the file that it starts with are loaded. So it starts with the main model
    alone, and gets the others when its port is open: then one that does not load stops none of the others.
    """

    def __init__(self, path: Path, models: Path, main: str, port: int) -> None:
        """Name the file, the folder of the models, the main model, and the port of the server on this machine."""
        self._path = path
        self._models = models
        self._main = main
        self._port = port
        self._written: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Name the main model alone, before the server starts.

        Raises StackError if the path of the models is not UTF-8, which such a file cannot say, and OSError.
        """
        with self._lock:
            self._write((self._main,))

    def refresh(self) -> tuple[str, ...] | None:
        """Name all models that are there now, if the server runs; return their names if they are others than before.

        Raises OSError.
        """
        with self._lock:
            names = tuple(dict.fromkeys((self._main, *models_in(self._models))))
            if names == self._written or not self._is_open():
                return None
            self._write(names)
            return names

    def _is_open(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def _write(self, names: tuple[str, ...]) -> None:
        try:
            paths = {name: _escaped(self._models.absolute() / name) for name in names}
        except UnicodeEncodeError as error:
            raise StackError(f"The path of {self._models.absolute()!a} is not UTF-8: rename the folder.") from error
        lines = (
            f'  config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
            for name, base in paths.items()
        )
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.write_text("model_config_list {\n" + "".join(lines) + "}\n")
        beside.replace(self._path)  # readers see all or nothing
        self._written = names


def _escaped(path: Path) -> str:
    """Return a path as protobuf's text format writes a string: bytes other than plain ASCII in octal."""
    plain = set(range(32, 127)) - set(b"\"'\\")
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fspath(path).encode())
