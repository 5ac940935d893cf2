"""Where the API may listen."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from api.access.binding import BindError, checked_binding
from api.commands.stack.plan import free_ports
from workers.errors import StoreUnavailableError
from workers.settings import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  what is asked for here


def _never() -> bool:
    raise AssertionError("nobody should have looked")


def _down() -> bool:
    raise StoreUnavailableError("Redis does not answer.")


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_needs_no_key(port: int, host: str) -> None:
    """And nobody looks for one."""
    assert checked_binding(Settings(host=host, port=port), _never) == f"{host}:{port}"


def test_with_a_key_any_address_will_do(port: int) -> None:
    """Whether one was made, or the settings ask for one."""
    assert checked_binding(Settings(host=EVERYWHERE, port=port), lambda: True) == f"{EVERYWHERE}:{port}"
    for settings in (
        Settings(host=EVERYWHERE, port=port, require_keys=True),
        Settings(host=EVERYWHERE, port=port, admin_key=SecretStr("sl_" + "a" * 32)),
    ):
        assert checked_binding(settings, _never) == f"{EVERYWHERE}:{port}"


def test_without_a_key_others_are_kept_out(port: int) -> None:
    """The error says how to have one; where nobody knows, it says that."""
    with pytest.raises(BindError, match=r"0\.0\.0\.0: it has no keys yet.*shelfline keys create"):
        checked_binding(Settings(host=EVERYWHERE, port=port), lambda: False)
    with pytest.raises(BindError, match=r"Redis does not answer\. SHELFLINE_REQUIRE_KEYS=1"):
        checked_binding(Settings(host=EVERYWHERE, port=port), _down)
