from __future__ import annotations

from pathlib import Path

import pytest

from serving.server.errors import LoadError
from serving.server.loading.version_loader import VersionLoader
from serving.server.metrics import Metrics


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    """In the words of TensorFlow's loader, and before TensorFlow is imported."""
    (tmp_path / "variables").mkdir()
    metrics = Metrics()
    with pytest.raises(LoadError, match="Could not find SavedModel") as error:
        VersionLoader(metrics, None)(tmp_path)

    assert error.value.code == 5
    assert f'load_attempt_count{{model_path="{tmp_path}",status="fail"}} 1' in metrics.page()
