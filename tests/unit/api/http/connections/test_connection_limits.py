"""How many connections one caller, and the process, may have."""

from __future__ import annotations

import resource
from functools import partial

import pytest

from api.http.connections.connection_limits import ConnectionCounts, connection_limit
from api.http.errors import TooManyConnectionsError


def test_an_address_and_a_key_have_a_limit_each() -> None:
    """What ends makes room again; others are not affected, nor are Unix sockets and requests without a key."""
    counts = ConnectionCounts(2, 1)
    first, _ = counts.enter_address("192.0.2.1"), counts.enter_address("192.0.2.1")
    key = counts.enter_key(b"Bearer sl_a")
    for enter in (partial(counts.enter_address, "192.0.2.1"), partial(counts.enter_key, b"Bearer sl_a")):
        with pytest.raises(TooManyConnectionsError):
            enter()
    counts.enter_address("192.0.2.2")
    counts.enter_key(b"Bearer sl_b")
    assert [counts.enter_address(""), counts.enter_key(b"")] == ["", ""]

    assert [counts.leave(first), counts.leave(key), counts.leave("")] == ["", "", ""]
    counts.enter_address("192.0.2.1")
    counts.enter_key(b"Bearer sl_a")


def test_without_a_limit_nothing_is_counted() -> None:
    """0 is the default, since all callers behind a proxy have one address."""
    counts = ConnectionCounts(0, 0)
    assert {counts.enter_address("192.0.2.1") + counts.enter_key(b"a") for _ in range(9)} == {""}


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1024, 1_000_000, 16_384, 4096),
        (1024, resource.RLIM_INFINITY, 16_384, 4096),
        (1024, 4096, 4096, 2048),
        (64, 64, 64, 32),
        (100_000, 100_000, 100_000, 4096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, 4096),
    ],
)
def test_half_of_the_open_files_are_connections(
    soft: int, hard: int, raised: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process asks for as many files as it needs."""
    limit = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, pair: limit.__setitem__(0, pair[0]))
    assert connection_limit(4096) == connections
    assert limit[0] == raised
