"""Check that a loaded version has the signatures of the version that it would replace.

TF Serving serves every version that loads and whose warm-up records succeed. If such a version lacks `detect`, the old
version is unloaded and all calls of a detector's clients fail.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_NEEDED = ("detect", "describe")
CONTRACT_FILE = "contract.toml"


def unfit(
    signatures: Collection[str], *, base: Path, number: int, served: tuple[int, Collection[str]] | None
) -> str | None:
    """Return why the version `number` must not become AVAILABLE, or None if it may.

    `signatures` are the names of its signatures, `base` is the model's folder. `served` is the version that is served
    now, with its signatures.

    A version with `describe` must have `detect`. A newer version must have `detect` and `describe` if the served one
    has them, unless `base` has a TOML file that describes the model. An older version is a rollback and may lack them.
    """
    if "describe" in signatures and "detect" not in signatures:
        return "it describes itself, but has no signature `detect`: export it anew"
    if served is None or number < served[0] or (base / CONTRACT_FILE).is_file():
        return None
    missing = [f"`{name}`" for name in _NEEDED if name in served[1] and name not in signatures]
    if not missing:
        return None
    return (
        f"it has no signature {' and no '.join(missing)}, which version {served[0]} answers with: "
        f"export it with Shelfline's exporter, or describe it in {base / CONTRACT_FILE}"
    )
