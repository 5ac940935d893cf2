from __future__ import annotations

from pathlib import Path

import pytest

from serving.server.versions.fitness import unfit

WHOLE = ("serving_default", "detect", "describe")
RAW = ("serving_default",)


@pytest.mark.parametrize(
    ("signatures", "served", "complaint"),
    [
        (WHOLE, None, None),
        (RAW, None, None),  # the course's model
        (("serving_default", "describe"), None, "no signature `detect`"),
        (WHOLE, (1, WHOLE), None),
        (WHOLE, (1, RAW), None),
        (RAW, (1, RAW), None),
        (("detect",), (1, ("detect",)), None),
        (RAW, (1, WHOLE), "no signature `detect` and no `describe`, which version 1"),
        (("serving_default", "describe"), (1, WHOLE), "no signature `detect`"),
        (("serving_default", "detect"), (1, WHOLE), "no signature `describe`, which version 1"),
        (RAW, (3, WHOLE), None),  # a roll-back to what was served before
    ],
)
def test_a_version_replaces_only_what_it_can_do(
    tmp_path: Path, signatures: tuple[str, ...], served: tuple[int, tuple[str, ...]] | None, complaint: str | None
) -> None:
    """A newer version keeps what clients call; the first one may be of any kind, but true to what it says."""
    reason = unfit(signatures, base=tmp_path, number=2, served=served)

    assert (reason is None) == (complaint is None), reason
    assert complaint is None or complaint in str(reason)


def test_a_description_beside_the_versions_stands_in_for_describe(tmp_path: Path) -> None:
    """Then a model that does not describe itself may follow one that does; one that says it detects still has to."""
    (tmp_path / "contract.toml").touch()

    assert unfit(RAW, base=tmp_path, number=2, served=(1, WHOLE)) is None
    assert unfit(("describe",), base=tmp_path, number=2, served=(1, WHOLE)) is not None
