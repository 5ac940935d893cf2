"""http and https URLs of callers: parsed once, unusual ones refused."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from workers.errors import OutboundBlockedError
from workers.io.names import percent_decoded

MAX_URL_CHARS = 8192
_PORTS = {"http": 80, "https": 443}
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?")
_KEPT = "/?:@!$&'()*+,;=-._~%[]|^"  # kept in path and query; other characters are sent as %XX


@dataclass(frozen=True)
class HttpUrl:
    """A URL's parts: `host` in lower case and ASCII, an IPv6 address without brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def bracketed(self) -> str:
        """Return the host as it is written in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{self.bracketed}:{self.port}"

    @property
    def host_header(self) -> str:
        """Return the value of the header Host: with the port only if it is not the default of the scheme."""
        return self.bracketed if self.port == _PORTS[self.scheme] else self.address

    @property
    def file_name(self) -> str:
        """Return the last segment of the path as people read it, without percent-encoding; '' if it has none."""
        return percent_decoded(self.target.partition("?")[0].rpartition("/")[2])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.target}"


def parse_http_url(text: str) -> HttpUrl:
    """Parse a URL. Raises OutboundBlockedError, which says what is wrong and shows nothing of the query."""
    if len(text) > MAX_URL_CHARS:
        raise OutboundBlockedError(f"The URL is longer than {MAX_URL_CHARS} characters.")
    if _ODD.search(text):
        raise OutboundBlockedError("The URL has spaces, backslashes or control characters: write them as %XX.")
    try:
        parts = urlsplit(text)
        port, host, password = parts.port, parts.hostname or "", parts.username is not None
    except ValueError as error:
        raise OutboundBlockedError("The URL cannot be parsed: write http(s)://host/path.") from error
    if parts.scheme not in _PORTS:
        raise OutboundBlockedError("The URL must begin with http:// or https://.")
    if password or "@" in parts.netloc:
        raise OutboundBlockedError("The URL contains a user name or a password, which are not sent: leave them out.")
    if not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise OutboundBlockedError("The URL's host is malformed: write http(s)://host/path.")
    target = quote(parts.path or "/", safe=_KEPT)
    if parts.query:
        target += "?" + quote(parts.query, safe=_KEPT)
    return HttpUrl(parts.scheme, _host(host), _PORTS[parts.scheme] if port is None else port, target)


def _host(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        pass
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_host = ""
    if not _HOST.fullmatch(ascii_host) or len(ascii_host) > 253:
        raise OutboundBlockedError("The URL's host is not a valid name: write http(s)://host/path.")
    return ascii_host.lower()
