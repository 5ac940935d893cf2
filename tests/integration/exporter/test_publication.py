from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import ExportError

FULL = "{{function_node __wrapped__SaveV2}} m/shop/variables/part-0.tempstate57; No space left on device [Op:SaveV2]"


def _no_space(folder: Path) -> None:
    import tensorflow as tf

    folder.mkdir()
    raise tf.errors.ResourceExhaustedError(None, None, FULL)


def _no_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"rubbish")


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (_no_space, "Cannot write to .*shop: No space left on device"),
        (_no_model, "does not load as TF Serving loads it"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_be_written_or_loaded_is_not_published(
    tmp_path: Path, write: Callable[[Path], None], complaint: str, *, dry_run: bool
) -> None:
    """In one line; nothing is left, not even the folders that were made for it."""
    from exporter.models.demo import demo_contract
    from exporter.versions.publication import publish_model

    with pytest.raises(ExportError, match=complaint) as refused:
        publish_model(tmp_path / "models" / "shop", demo_contract("shop"), write, dry_run=dry_run)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
