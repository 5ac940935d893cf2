import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from serving.server.errors import LoadError, StatusError
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.policy import VersionPolicy
from serving.wire.protos import ProtoMessage


class FakeServable:
    """A version in memory that knows whether it was closed."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "saved_model.pb").exists():
            raise LoadError("no saved_model.pb", 5)
        names = (folder / "saved_model.pb").read_text().split()
        self.signatures: dict[str, ProtoMessage] = dict.fromkeys(names)
        self.is_closed = False

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        """Nothing runs here."""
        raise AssertionError(feeds, fetches, deadline)

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True


def publish(base: Path, name: str, *signatures: str) -> Path:
    """A complete version."""
    (base / name).mkdir()
    (base / name / "saved_model.pb").write_text(" ".join(signatures))
    return base / name


def lifecycle(base: Path, *, retries: int = 5, poll: float = 1.0) -> Lifecycle:
    """Of the model m, driven by hand."""
    model = Lifecycle("m", FakeServable, retries=retries, retry_seconds=3600, poll_seconds=poll)
    model.configure(base, VersionPolicy())
    return model


def states(model: Lifecycle) -> list[tuple[int, str]]:
    """Version and state, as they are listed."""
    return [(state.version, state.state.name) for state in model.states()]


def served(model: Lifecycle, version: int | None = None) -> int:
    """The version that a call would get."""
    with model.acquire(version) as (number, _):
        return number


def test_the_newest_version_replaces_the_old(tmp_path: Path) -> None:
    """END entries stay, the list is descending, names that are no number are left alone."""
    publish(tmp_path, "00000007")
    publish(tmp_path, "tmp-9")
    (tmp_path / "8").touch()
    model = lifecycle(tmp_path)
    model.run_once()

    assert served(model) == 7

    publish(tmp_path, "10")
    model.run_once()

    assert states(model) == [(10, "AVAILABLE"), (7, "END")]
    assert served(model) == 10
    with pytest.raises(StatusError, match=r"Specific\(m, 7\)"), model.acquire(7):
        pass


def test_a_half_copied_version_leaves_the_old_one_in_service(tmp_path: Path) -> None:
    """And is loaded as soon as it is complete, without waiting a minute."""
    publish(tmp_path, "1")
    model = lifecycle(tmp_path)
    model.run_once()
    (tmp_path / "2").mkdir()
    model.run_once()

    assert states(model) == [(2, "LOADING"), (1, "AVAILABLE")]
    assert model.states()[0].error == "no saved_model.pb"
    assert served(model) == 1

    (tmp_path / "2" / "saved_model.pb").touch()
    model.run_once()

    assert states(model) == [(2, "AVAILABLE"), (1, "END")]
    assert model.states()[0].error == ""


def test_a_version_that_never_loads_ends_with_its_error(tmp_path: Path) -> None:
    """The old one goes on; a newer one is loaded as if nothing had been."""
    publish(tmp_path, "1")
    (tmp_path / "2").mkdir()
    model = lifecycle(tmp_path, retries=0)
    model.run_once()

    assert states(model) == [(2, "END")]
    assert (model.states()[0].error_code, model.states()[0].error) == (5, "no saved_model.pb")
    assert model.is_hopeless

    publish(tmp_path, "3")
    model.run_once()

    assert states(model) == [(3, "AVAILABLE"), (2, "END")]
    assert not model.is_hopeless


def test_removing_the_newest_version_rolls_back(tmp_path: Path) -> None:
    """The one before it is loaded again before the newest goes."""
    publish(tmp_path, "1")
    model = lifecycle(tmp_path)
    model.run_once()
    newest = publish(tmp_path, "2")
    model.run_once()
    newest.rename(tmp_path / "away")
    model.run_once()

    assert states(model) == [(2, "END"), (1, "AVAILABLE")]


def test_versions_stay_while_the_folder_is_away(tmp_path: Path) -> None:
    """A network disk that hiccups unloads nothing; an empty folder unloads all, as in TF Serving."""
    base = tmp_path / "models"
    base.mkdir()
    folder = publish(base, "1")
    model = lifecycle(base)
    model.run_once()
    base.rename(tmp_path / "elsewhere")
    model.run_once()

    assert states(model) == [(1, "AVAILABLE")]

    (tmp_path / "elsewhere").rename(base)
    folder.rename(tmp_path / "gone")
    model.run_once()

    assert states(model) == [(1, "END")]
    assert not model.is_available


def test_without_polling_versions_are_looked_for_once(tmp_path: Path) -> None:
    """--file_system_poll_wait_seconds=0."""
    publish(tmp_path, "1")
    model = lifecycle(tmp_path, poll=0)
    model.run_once()
    publish(tmp_path, "2")
    model.run_once()

    assert states(model) == [(1, "AVAILABLE")]


def test_a_version_is_closed_after_its_last_call(tmp_path: Path) -> None:
    """Unloading waits for calls in flight, and no new call gets the version meanwhile."""
    publish(tmp_path, "1")
    model = lifecycle(tmp_path)
    model.run_once()
    publish(tmp_path, "2")
    with model.acquire(1) as (_, servable):
        thread = threading.Thread(target=model.run_once)
        thread.start()
        while (1, "UNLOADING") not in states(model):
            assert thread.is_alive()
        assert isinstance(servable, FakeServable)
        assert not servable.is_closed
        assert served(model) == 2
        with pytest.raises(StatusError, match="Servable not found"), model.acquire(1):
            pass
    thread.join(10)

    assert servable.is_closed
    assert states(model) == [(2, "AVAILABLE"), (1, "END")]


def test_nothing_to_serve_is_not_found(tmp_path: Path) -> None:
    """And not hopeless: a version may still come."""
    model = lifecycle(tmp_path)
    model.run_once()

    assert not model.is_hopeless
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"), model.acquire(None):
        pass


def test_a_version_without_what_clients_call_is_not_put_in_service(tmp_path: Path) -> None:
    """The old one goes on, the new one is closed and its state says why; once it is mended it goes live."""
    publish(tmp_path, "1", "detect", "describe")
    made: list[FakeServable] = []

    def load(folder: Path) -> FakeServable:
        made.append(FakeServable(folder))
        return made[-1]

    model = Lifecycle("m", load, retry_seconds=3600)
    model.configure(tmp_path, VersionPolicy())
    model.run_once()
    second = publish(tmp_path, "2", "serving_default")
    model.run_once()

    assert states(model) == [(2, "LOADING"), (1, "AVAILABLE")]
    assert "no signature `detect` and no `describe`" in model.states()[0].error
    assert model.states()[0].error_code == 9
    assert [servable.is_closed for servable in made] == [False, True]
    assert served(model) == 1

    (second / "saved_model.pb").write_text("detect describe serving_default")
    model.run_once()

    assert states(model) == [(2, "AVAILABLE"), (1, "END")]
