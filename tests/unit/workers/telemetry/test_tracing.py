"""Traces are optional: off, nothing of them is loaded; on, what is missing is said at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import settings as settings_module
from workers.errors import SettingsError
from workers.settings import Settings, load_settings
from workers.telemetry.spans import Tracer
from workers.telemetry.tracing import open_tracer


def test_off_they_cost_no_import(tmp_path: Path) -> None:
    """Neither the API nor a worker loads what sends them; redis-py looks for OpenTelemetry's metrics by itself."""
    script = "import sys, api.wsgi, workers.main; workers.main.runtime(); print(*sys.modules)"
    env = os.environ | {"BLOB_URL": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)

    loaded = done.stdout.split()
    assert [
        name for name in loaded if name == "workers.telemetry.otel" or name.startswith("opentelemetry.exporter")
    ] == []


def test_off_nothing_is_passed_on() -> None:
    """A caller's own trace ends here."""
    span = open_tracer(Settings(), "web").start("GET /", f"00-{'1' * 32}-{'1' * 16}-01")
    span.end(status=200)

    assert span.traceparent == ""
    assert type(open_tracer(Settings(), "web")) is Tracer


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
def test_on_without_the_packages(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install, from whatever process starts."""

    def find_spec(name: str) -> str | None:
        """As importlib's, which imports the parents of what it looks for."""
        if name.startswith(f"{missing}."):
            raise ModuleNotFoundError(name)
        return None if name == missing else name

    monkeypatch.setattr(settings_module, "find_spec", find_spec)
    with pytest.raises(
        SettingsError, match=r"^SHELFLINE_TRACING is wrong: .* run \.venv/bin/pip install -e '\.\[tracing\]'\.$"
    ):
        load_settings(tracing=True)
