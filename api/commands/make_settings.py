"""Write docs/settings.md and .env.example from the class `Settings`: `make settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from workers.settings import Settings, variable_of

_PROJECT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = _PROJECT / "docs" / "settings.md"
EXAMPLE: Final = _PROJECT / ".env.example"

# The headings of the page, each under the name of its first setting, in the order of the class.
_HEADINGS: Final = {
    "redis_url": "Where things are",
    "host": "The API and its keys",
    "folder_roots": "What jobs may read",
    "batch_rows": "The pipeline",
    "log_level": "Logs and traces",
    "max_image_bytes": "Bounds of what comes",
    "fetch_seconds": "Images by URL",
    "webhook_seconds": "Webhooks",
    "max_job_images": "How much, and for how long",
}
_SIGNS: Final = {Ge: "at least", Gt: "more than", Le: "at most", Lt: "less than"}
_INTRODUCTION: Final = """# Settings

Each process (API, worker, webhook sender, commands) reads its settings from the environment when it starts, and
reports each wrong one in a line of its own. All processes of an installation need the same settings. `shelfline doctor`
finds misspelt variables. Lists are separated by commas, folders as in `PATH`. This page is made from
[workers/settings.py](../workers/settings.py) by `make settings`, and so is [.env.example](../.env.example).
"""


def page_text() -> str:
    """Return the text of docs/settings.md."""
    lines = [_INTRODUCTION]
    for name, field in Settings.model_fields.items():
        if name in _HEADINGS:
            lines.append(f"\n## {_HEADINGS[name]}\n\n| variable | default | what |\n|---|---|---|\n")
        default = _default(field)
        shown = f"`{default}`" if default else ""
        text = " ".join(filter(None, [field.description, _bounds(field)])).replace("|", "\\|")
        lines.append(f"| `{variable_of(name)}` | {shown} | {text} |\n")
    return "".join(lines)


def example_text() -> str:
    """Return the text of .env.example: every setting with its default."""
    lines = [
        "# Every setting with its default, `...` where there is none; docs/settings.md says more.\n",
        "# docker-compose reads a copy named .env.\n",
    ]
    for name, field in Settings.model_fields.items():
        if name in _HEADINGS:
            lines.append(f"\n# {_HEADINGS[name]}\n")
        lines.append(f"# {variable_of(name)}={_default(field) if field.default is not None else '...'}\n")
    return "".join(lines)


def _default(field: FieldInfo) -> str:
    """Return a setting's default as it would be written in the environment, "" if it has none."""
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, frozenset):
        value = tuple(sorted(value))
    if isinstance(value, tuple):
        if value and hasattr(value[0], "model_dump"):
            return "[{}]"  # a list of robots: a robot with only defaults
        return (os.pathsep if value and isinstance(value[0], Path) else ",").join(map(str, value))
    return "" if value is None else str(value)


def _bounds(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f"One of {', '.join(map(str, get_args(field.annotation)))}."
    bounds = " and ".join(
        f"{_SIGNS[type(bound)]} {getattr(bound, type(bound).__name__.lower()):g}"
        for bound in field.metadata
        if type(bound) in _SIGNS
    )
    return f"{bounds[0].upper()}{bounds[1:]}." if bounds else ""


if __name__ == "__main__":
    PAGE.write_text(page_text())
    EXAMPLE.write_text(example_text())
