"""Whether a version that loads can do the work of the one it would replace.

TF Serving takes whatever loads, or whatever its warm-up records do not fail on. Under a detector's clients that means:
the old version is unloaded, and nothing answers any more.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_NEEDED = ("detect", "describe")
CONTRACT_FILE = "contract.toml"


def unfit(
    signatures: Collection[str], *, base: Path, number: int, served: tuple[int, Collection[str]] | None
) -> str | None:
    """Why the version `number` under `base` with these signatures must not go live; None where it may.

    `served` is the version that answers now and its signatures. A version that says of itself that it detects has to.
    A newer one has to have what its predecessor's clients call, unless a TOML file beside the versions describes the
    model in place of `describe`; an older one is what someone rolls back to, and may lack what came after it.
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
