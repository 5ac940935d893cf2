"""The page of the settings and the example of an environment are those of the class."""

from __future__ import annotations

import re

import pytest

from api.commands.make_settings import EXAMPLE, PAGE, example_text, page_text
from tests.test_references import PROJECT
from workers.settings import COMMAND_VARIABLES, Settings, load_settings, unknown_variables, variable_of

DEFAULTS = Settings().model_dump()


def test_the_committed_files_are_current() -> None:
    """Whoever changes a setting runs `make settings`."""
    assert (PAGE.read_text(), EXAMPLE.read_text()) == (page_text(), example_text()), "run `make settings`"


def test_every_setting_is_there_once() -> None:
    """By the variable that sets it."""
    assert re.findall(r"^\| `(\w+)`", page_text(), re.MULTILINE) == [
        variable_of(name) for name in Settings.model_fields
    ]


def test_the_example_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the `#` off changes nothing."""
    lines = re.findall(r"^# (\w+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    for name, value in lines:
        if value != "...":
            monkeypatch.setenv(name, value)

    assert len(lines) == len(Settings.model_fields)
    assert load_settings().model_dump() == DEFAULTS


def test_variables_that_are_no_settings() -> None:
    """A misspelt one is found, with what may be meant; those of the Procfile and of commands are none."""
    names = ["SHELFLINE_BATCH_ROW", "SHELFLINE_XYZZY_PLUGH", "SHELFLINE_PORT", "SHELFLINE_POOL", "PATH"]

    assert unknown_variables(names) == {"SHELFLINE_BATCH_ROW": "SHELFLINE_BATCH_ROWS", "SHELFLINE_XYZZY_PLUGH": ""}


def test_the_variables_of_commands_are_read() -> None:
    """Each is an option's or a Procfile's; no other is."""
    texts = [path.read_text() for path in (*PROJECT.glob("api/**/*.py"), *PROJECT.glob("Procfile*"))]
    read = re.compile(r"(?:envvar=\"|environ\.get\(\"|\$\{?)(SHELFLINE_[A-Z_]+)")
    variables = {variable for text in texts for variable in read.findall(text)}
    settings = {f"SHELFLINE_{name.upper()}" for name in Settings.model_fields}

    assert variables - settings <= COMMAND_VARIABLES <= variables | settings
