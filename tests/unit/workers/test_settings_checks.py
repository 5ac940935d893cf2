"""Addresses that can be none are told at the start; whether somebody answers there, nobody asks here."""

from __future__ import annotations

import pytest

from workers.errors import SettingsError
from workers.settings import load_settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://h:6379",
        "redis:///3",
        "redis://:p%2F%40ss@[::1]:6379/2?socket_timeout=3",
        "rediss://u:p@h:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_redis_urls(url: str) -> None:
    """What redis-py reads."""
    assert load_settings(redis_url=url).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter/2@h:6379/0",
        "redis://:hunter#2@h:6379/0",
        "redis://h:hunter2/0",
        "redis://h:70000/0",
        "redis://h:6379/hunter2",
        "redis://h?hunter2=1",
        "redis://h?socket_timeout=hunter2",
        "rediss://h?ssl_cert_reqs=hunter2",
    ],
)
def test_redis_urls_that_are_none(url: str) -> None:
    """One line, that shows nothing of a password."""
    with pytest.raises(SettingsError, match=r"^REDIS_URL is wrong: write it as in redis://") as caught:
        load_settings(redis_url=url)

    assert "hunter" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "target",
    [
        "serving:8500",
        "10.0.0.6:8500",
        "[::1]:8500",
        "dns:serving:8500",
        "dns:///serving:8500",
        "dns://10.0.0.1:53/serving:8500",
        "ipv4:10.0.0.6:8500,10.0.0.7:8500",
        "ipv6:[::1]:8500,[::2]:8500",
        "unix:/run/serving.sock",
    ],
)
def test_model_servers(target: str) -> None:
    """What gRPC connects to."""
    assert load_settings(model_server=target).model_server == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "serving",
        "http://serving:8500",
        "https://serving:8500/v1",
        "dns:///serving",
        "serving:grpc",
        "serving:0",
        "serving:99999",
        "10.0.0.6:8500,10.0.0.7:8500",
        "ipv4:10.0.0.6:8500,10.0.0.7",
        "::1:8500",
    ],
)
def test_model_servers_that_are_none(target: str) -> None:
    """A worker would wait for each of them for ever."""
    with pytest.raises(SettingsError, match=r"^SHELFLINE_MODEL_SERVER is wrong: write host:port, or "):
        load_settings(model_server=target)


@pytest.mark.parametrize(("name", "value"), [("model", ""), ("blob_url", ""), ("lease_seconds", "inf")])
def test_what_names_nothing_and_what_never_ends(name: str, value: str) -> None:
    """As a variable that is set to nothing, and a time that no script can reckon with."""
    with pytest.raises(SettingsError, match="is wrong"):
        load_settings(**{name: value})
