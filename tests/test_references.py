"""What the texts name is there: files, settings, decisions; and each setting is read."""

from __future__ import annotations

import re
from pathlib import Path

from workers.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("api", "workers", "serving", "exporter")
DECISIONS = sorted((PROJECT / "docs" / "decisions").glob("*.md"))


def _texts(*patterns: str) -> dict[str, str]:
    """The texts of the files that these patterns match, by their paths."""
    paths = (path for pattern in patterns for path in sorted(PROJECT.glob(pattern)))
    return {str(path.relative_to(PROJECT)): path.read_text() for path in paths}


def test_documents_that_are_named_exist() -> None:
    """Whoever is sent to a page of the docs finds it."""
    sources = _texts("*.md", "docs/**/*.md", "*.in", "Makefile", *(f"{folder}/**/*.py" for folder in FOLDERS))
    page = re.compile(r"\bdocs/(?:decisions/\d{4}[\w-]*|[\w/-]+\.md)")
    named = {(file, name) for file, text in sources.items() for name in page.findall(text)}

    assert named
    assert [(file, name) for file, name in sorted(named) if not any(PROJECT.glob(f"{name}*"))] == []


def test_links_between_documents_lead_somewhere() -> None:
    """Links are relative to the page they stand on."""
    pages = _texts("*.md", "docs/**/*.md")
    links = [
        (file, link)
        for file, text in pages.items()
        for link in re.findall(r"\]\(([^)#\s]+)", text)
        if "://" not in link
    ]

    assert links
    assert [link for link in links if not ((PROJECT / link[0]).parent / link[1]).exists()] == []


def test_decisions_are_numbered() -> None:
    """One after the other, as their titles are."""
    numbers = [int(path.name[:4]) for path in DECISIONS]
    titles = [path.read_text().partition(".")[0] for path in DECISIONS]

    assert numbers == list(range(1, len(DECISIONS) + 1))
    assert titles == [f"# {number}" for number in numbers]


def test_every_setting_is_read() -> None:
    """A setting that nothing looks at would promise what does not happen."""
    sources = "\n".join(_texts("api/**/*.py", "workers/**/*.py", "Procfile").values())

    def is_read(name: str) -> bool:
        return bool(re.search(rf"(?:settings|self)\.{name}\b|\$\{{SHELFLINE_{name.upper()}\b", sources))

    assert [name for name in Settings.model_fields if not is_read(name)] == []


def test_settings_that_the_documents_name_exist() -> None:
    """Each variable of the environment in the docs is a setting, an option's, or a Procfile's."""
    known = {f"SHELFLINE_{name.upper()}" for name in Settings.model_fields}
    for text in _texts("api/**/*.py", "Procfile", "Procfile.local", "docker-compose*.yml").values():
        known |= set(re.findall(r"(?:envvar=\"|environ\.get\(\"|\$\{?)(SHELFLINE_[A-Z_]+)", text))
    for text in _texts("tests/**/*.py").values():
        known |= set(re.findall(r"environ\.get\(\"(SHELFLINE_[A-Z_]+)", text))
    pages = "\n".join(_texts("*.md", "docs/**/*.md").values())

    assert set(re.findall(r"SHELFLINE_[A-Z_]+[A-Z]", pages)) - known == set()


def test_every_redis_key_is_documented() -> None:
    """Every key has a line with its type, writers and expiry, beside the scripts and in the documentation."""
    key = re.compile(r"\bsl:([a-z-]+)")
    sources = _texts("api/**/*.py", "workers/**/*.py", "workers/io/scripts/**/*.lua")
    used = {name for text in sources.values() for name in key.findall(re.sub(r"(?m)^ *--.*", "", text))}

    assert used
    for file, text in _texts("workers/io/scripts/lib/keys.lua", "docs/architecture.md").items():
        documented = set(key.findall(text.partition("local function")[0]))
        assert used - documented == set(), file
