import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.versions.policy import (
    Action,
    Failure,
    State,
    VersionPolicy,
    aspired_of,
    gives_up,
    next_action,
    tries_again,
    version_number,
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("00000123", 123),
        ("0", 0),
        ("tmp-1", None),
        ("1.tmp", None),
        ("-1", None),
        ("²", None),
        ("", None),
        ("9" * 20, None),
        ("1" * 5000, None),
    ],
)
def test_a_version_is_a_folder_named_by_a_number(name: str, number: int | None) -> None:
    """So a model is published by renaming from a name that is none."""
    assert number == version_number(name)


def test_the_newest_are_aspired() -> None:
    """By number, not by text."""
    assert {10} == aspired_of([2, 10, 9], VersionPolicy())
    assert {9, 10} == aspired_of([2, 10, 9], VersionPolicy(latest=2))
    assert {10} == aspired_of([2, 10, 9], VersionPolicy(latest=0))
    assert not aspired_of([], VersionPolicy())


def test_all_or_specific_versions_are_aspired() -> None:
    """Of those that are there; a specific version that is not may come later."""
    assert {2, 9, 10} == aspired_of([2, 10, 9], VersionPolicy(everything=True))
    assert {2, 10} == aspired_of([2, 10, 9], VersionPolicy(specific=frozenset({2, 10, 11})))
    assert not aspired_of([2], VersionPolicy(specific=frozenset({1})))


START, LOADING, AVAILABLE, END = State.START, State.LOADING, State.AVAILABLE, State.END


@pytest.mark.parametrize(
    ("states", "aspired", "action"),
    [
        ({}, set(), None),
        ({1: START}, {1}, ("load", 1)),
        ({1: AVAILABLE}, {1}, None),
        ({1: AVAILABLE, 2: START}, {2}, ("load", 2)),
        ({1: AVAILABLE, 2: LOADING}, {2}, None),
        ({1: AVAILABLE, 2: AVAILABLE}, {2}, ("unload", 1)),
        ({1: AVAILABLE, 2: END}, {2}, None),
        ({1: AVAILABLE}, set(), ("unload", 1)),
        ({1: AVAILABLE, 2: AVAILABLE, 3: START}, {3}, ("unload", 1)),
        ({2: AVAILABLE, 3: START}, {3}, ("load", 3)),
        ({1: START, 2: START}, {1, 2}, ("load", 2)),
        ({1: END, 2: AVAILABLE}, {2}, None),
    ],
)
def test_the_next_step(states: dict[int, State], aspired: set[int], action: Action | None) -> None:
    """The old version goes when the new one is there, and stays while it fails."""
    assert action == next_action(states, aspired)


@given(st.dictionaries(st.integers(0, 5), st.sampled_from([START, AVAILABLE, END])), st.sets(st.integers(0, 5)))
def test_steps_end_and_never_leave_a_gap(states: dict[int, State], wanted: set[int]) -> None:
    """Until all is done, a step at a time: once something is available and wanted, something always is."""
    aspired = wanted & set(states)
    was_available = AVAILABLE in states.values()
    for _ in range(20):
        action = next_action(states, aspired)
        if action is None:
            break
        what, number = action
        states[number] = AVAILABLE if what == "load" else END
        if was_available and aspired:
            assert AVAILABLE in states.values()
    else:
        pytest.fail("it does not end")
    assert not any(states[version] is START for version in aspired)


FAILED = Failure(tries=1, at=100.0, fingerprint="a")


@pytest.mark.parametrize(
    ("failure", "now", "fingerprint", "again"),
    [
        (FAILED, 159.0, "a", False),
        (FAILED, 160.0, "a", True),
        (FAILED, 101.0, "b", True),
        (Failure(6, 100.0, "a"), 1e9, "a", False),
        (Failure(6, 100.0, "a"), 101.0, "b", True),
    ],
)
def test_when_a_failed_version_is_tried_again(failure: Failure, now: float, fingerprint: str, again: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """After a minute, five times; at once when its folder changed."""
    assert again == tries_again(failure, retries=5, interval=60.0, now=now, fingerprint=fingerprint)


def test_five_tries_follow_the_first() -> None:
    """As TF Serving counts its retries."""
    assert [gives_up(Failure(tries, 0.0, ""), retries=5) for tries in (5, 6)] == [False, True]
