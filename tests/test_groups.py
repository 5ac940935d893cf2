"""The tests of a file share a process of pytest-xdist, so that what they share starts once."""

from __future__ import annotations

import pytest

from tests.conftest import TESTS


def test_a_test_belongs_to_the_group_of_its_file(request: pytest.FixtureRequest) -> None:
    """pytest-xdist has read the group: it is the end of the test's id."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("this run does not use pytest-xdist")
    assert request.node.nodeid.endswith(f"@{request.path.relative_to(TESTS)}")
