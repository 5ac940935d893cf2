"""What a process checks before it starts."""

from __future__ import annotations

import sys

import pytest

from workers.errors import SettingsError
from workers.process import check_utf8


def test_names_of_files_must_be_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another encoding a folder named é could not be opened."""
    check_utf8()
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(SettingsError, match=r"'ascii'.*PYTHONUTF8"):
        check_utf8()
