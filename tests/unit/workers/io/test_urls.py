from __future__ import annotations

import pytest

from workers.errors import OutboundBlockedError, SettingsError
from workers.io.urls import parse_http_url
from workers.settings import load_settings


@pytest.mark.parametrize(
    ("text", "address", "host_header", "target", "file_name"),
    [
        ("http://A.Example", "a.example:80", "a.example", "/", ""),
        ("https://a.example:443/x/b.jpg?c=/d#e", "a.example:443", "a.example", "/x/b.jpg?c=/d", "b.jpg"),
        ("http://a.example:8080/ü%20?q=ü", "a.example:8080", "a.example:8080", "/%C3%BC%20?q=%C3%BC", "ü "),
        ("http://[2001:DB8::1]:81/", "[2001:db8::1]:81", "[2001:db8::1]:81", "/", ""),
        ("https://bücher.example/?", "xn--bcher-kva.example:443", "xn--bcher-kva.example", "/", ""),
    ],
)
def test_the_parts_of_a_url(text: str, address: str, host_header: str, target: str, file_name: str) -> None:
    """As they are connected to and sent: lower case, ASCII, brackets where they belong, no fragment."""
    url = parse_http_url(text)
    assert (url.address, url.host_header, url.target, url.file_name) == (address, host_header, target, file_name)


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1]extra/",
        "http://[::1]extra:80/",
        "http://x[::1]/",
        "http://[::1]:80:80/",
        "http://[::1][::1]/",
        "http://a:b/",
        "http://a:1:2/",
        "http://a]/",
    ],
)
def test_a_malformed_host(text: str) -> None:
    """It is no host at all, so it is not taken for the part of it that looks like one."""
    with pytest.raises(OutboundBlockedError):
        parse_http_url(text)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("source_prefixes", "bucket/photos", "is not a prefix"),
        ("source_prefixes", "s3://", "is not a prefix"),
        ("source_prefixes", "simplecache::s3://bucket", "is not a prefix"),
        ("source_prefixes", "file:///etc", "FOLDER_ROOTS"),
        ("source_prefixes", "s3://a, https://b.example/", "send such images as items"),
        ("archive_methods", "stored,lzma", "ARCHIVE_METHODS"),
        ("fetch_ports", "80,many", "FETCH_PORTS"),
    ],
)
def test_settings_that_would_open_too_much_or_nothing(name: str, value: str, says: str) -> None:
    """Each is told in one line, at the start."""
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings(**{name: value})

    assert len(str(caught.value).splitlines()) == 1


def test_settings_as_they_are_written() -> None:
    """Separated by commas, with white space, hosts in any case, prefixes with a slash at their end."""
    settings = load_settings(
        source_prefixes="s3://a/b/ , gs://c", fetch_private_hosts="NAS.local, 10.0.0.1:8080", fetch_ports="80, 8080"
    )
    assert settings.source_prefixes == ("s3://a/b", "gs://c")
    assert settings.fetch_private_hosts == {"nas.local", "10.0.0.1:8080"}
    assert settings.fetch_ports == {80, 8080}
