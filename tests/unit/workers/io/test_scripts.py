"""The Lua scripts: each names the libraries that it uses, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from workers.io import redis_link

SCRIPTS = {
    str(path.relative_to(redis_link._SCRIPTS).with_suffix("")): path.read_text()
    for path in sorted(redis_link._SCRIPTS.rglob("*.lua"))
}
DEFINED = {
    name: script
    for script, text in SCRIPTS.items()
    if script.startswith("lib/")
    for name in re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)
}


def _code(text: str) -> str:
    return re.sub(r"--.*|'[^']*'", "", text)


def _bound(text: str) -> set[str]:
    """What a script defines itself: variables, functions, parameters, loops."""
    listed = re.findall(r"\blocal (?!function)([\w, ]+)|function \w*\s*\(([\w, ]*)\)|\bfor ([\w, ]+?)(?: in | =)", text)
    functions = re.findall(r"function (\w+)", text)
    return {name.strip() for groups in listed for group in groups for name in group.split(",")} | set(functions)


def test_scripts_require_what_they_use() -> None:
    """A missing library is an error when the script first runs; one too many is sent to Redis for nothing."""
    wrong = {}
    for script, text in SCRIPTS.items():
        code = _code(text)
        used = set(re.findall(r"(?<![.\w])[A-Za-z_]\w*", code)) - _bound(code)
        needed = {DEFINED[name] for name in used & DEFINED.keys()} - {script}
        libraries = redis_link._head(text)["libraries"]
        required = {f"lib/{library}" for library in libraries.split(", ")} if libraries else set()
        if needed != required:
            wrong[script] = (sorted(needed), sorted(required))

    assert SCRIPTS
    assert wrong == {}


def test_flags_come_first() -> None:
    """Redis reads them only there, and only once; a library has none."""
    flagged = {script for script, text in SCRIPTS.items() if text.startswith("#!lua flags=")}

    assert "jobs/delete" in flagged
    assert not any(script.startswith("lib/") for script in flagged)
    for script in SCRIPTS:
        source = redis_link.script_source(script)
        assert (source.startswith("#!lua flags="), source.count("#!lua")) == (script in flagged, script in flagged)


def test_every_script_is_run() -> None:
    """A script that no module names is dead."""
    project = Path(redis_link.__file__).parents[2]
    sources = "".join(path.read_text() for path in (project / "workers").rglob("*.py"))

    assert [name for name in SCRIPTS if not name.startswith("lib/") and f'"{name}"' not in sources] == []


def test_names_are_defined_once() -> None:
    """Libraries share one scope: a second definition would hide the first."""
    names = [
        name
        for script, text in SCRIPTS.items()
        if script.startswith("lib/")
        for name in re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)
    ]

    assert sorted(names) == sorted(set(names))
