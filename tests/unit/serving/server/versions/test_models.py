from __future__ import annotations

import threading
from pathlib import Path

import pytest

from serving.server.errors import LoadError, StatusError
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import ModelConfig
from serving.server.versions.models import Models
from serving.server.versions.servable import Servable
from serving.wire.protos import ModelSpec
from tests.support.polling import wait_until


def refusing(_: Path) -> Servable:
    """A version that does not load."""
    raise LoadError("it is broken")


def models(*, labels_may_come_first: bool = False) -> Models:
    """Models whose versions do not load, and are given up at once."""
    return Models(
        lambda name: Lifecycle(name, refusing, poll_seconds=0.01, retries=0),
        labels_may_come_first=labels_may_come_first,
    )


def test_a_model_that_is_given_up_ends_a_reload(tmp_path: Path) -> None:
    """With its name and version, as TF Serving says it; what is configured stays so."""
    (tmp_path / "3").mkdir()
    served = models()
    with pytest.raises(StatusError) as error:
        served.reload([ModelConfig("m", tmp_path)])

    assert (error.value.code.name, error.value.message) == (
        "UNKNOWN",
        "Some models did not become available: {{name: m version: 3}, }",
    )
    assert [model.name for model in served.configured] == ["m"]
    served.stop()


def test_a_stop_ends_the_wait_of_a_reload(tmp_path: Path) -> None:
    """Else SIGTERM would wait for a folder that never comes."""
    served = models()
    errors: list[str] = []

    def reload() -> None:
        with pytest.raises(StatusError) as error:
            served.reload([ModelConfig("m", tmp_path / "none")])
        errors.append(error.value.code.name)

    thread = threading.Thread(target=reload)
    thread.start()
    wait_until(lambda: served.configured)
    served.stop()
    thread.join(30)

    assert errors == ["UNKNOWN"]


def test_labels_come_first_only_where_they_may(tmp_path: Path) -> None:
    """And a label that exists moves only to a version that is loaded, as in TF Serving."""
    first, moved = (ModelConfig("m", tmp_path, labels={"stable": version}) for version in (1, 2))
    strict = models()
    with pytest.raises(StatusError, match="assign label to version 1 of model m, which is not currently available"):
        strict.configure([first])
    assert strict.configured == []

    served = models(labels_may_come_first=True)
    served.configure([first])

    assert served.version_asked(ModelSpec(name="m", version_label="stable")) == 1
    with pytest.raises(StatusError, match="assign label to version 2 of model m"):
        served.configure([moved])
    assert served.version_asked(ModelSpec(name="m", version_label="stable")) == 1
    served.stop()
