"""HTTP requests to addresses that callers name: they reach only the public internet, and end within a deadline.

Every address of a host is checked after the DNS look-up, and the connection goes to an address that was checked. So a
name that resolves to another address the second time (DNS rebinding) gains nothing. Every wait, also those of the
look-up and of the TLS handshake, is limited by what is left of one deadline, so a server that sends slowly gains
nothing.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urljoin

import certifi
import httpcore
import structlog

from workers.errors import OutboundBlockedError, OutboundFailedError
from workers.io.public_addresses import is_public
from workers.io.sockets import Clock, Connector, Resolver, system_resolver
from workers.io.urls import HttpUrl, parse_http_url
from workers.settings import Settings

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PIECE_BYTES = 65_536
_CHECK_SECONDS = 2.0  # for the look-up of a host whose URL is to be stored
_WINDOW_BITS = {  # zlib's window bits for what a server compressed although it was asked not to
    "gzip": 31,
    "x-gzip": 31,
    "deflate": 15,
}


log = structlog.get_logger(__name__)


@cache
def public_tls() -> ssl.SSLContext:
    """Return the TLS settings: certificates and host names are verified, by the system's and Mozilla's authorities."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True)
class Guard:
    """Which addresses requests may reach.

    On public addresses the `ports` are allowed. Each of `private_hosts`, `host` or `host:port`, may have any address;
    the first form allows every port, the second only its own.
    """

    ports: frozenset[int] = frozenset((80, 443))
    private_hosts: frozenset[str] = frozenset()
    resolve: Resolver = system_resolver
    tls: ssl.SSLContext = field(default_factory=public_tls)

    def addresses(self, url: HttpUrl, clock: Clock) -> list[str]:
        """Return the addresses of a URL's host, all allowed. Raises OutboundBlockedError, OutboundFailedError."""
        private = not {url.host, url.address}.isdisjoint(self.private_hosts)
        if not private and url.port not in self.ports:
            raise self._refusal(url)
        addresses = self.resolve(url.host, url.port, clock)
        if not addresses:
            raise OutboundFailedError(f"The host {url.host} has no address.")
        if not private and not all(map(is_public, addresses)):
            raise self._refusal(url)
        return addresses

    def check(self, url: str) -> None:
        """Check a URL before it is stored: its spelling, its port and the addresses that its host has now.

        Each request checks them again. So a host that is not found now passes: it may be found later. Raises
        OutboundBlockedError.
        """
        target = parse_http_url(url)
        try:
            self.addresses(target, Clock(_CHECK_SECONDS))
        except OutboundFailedError as error:
            log.info("host not found", host=target.host, reason=str(error))

    def _refusal(self, url: HttpUrl) -> OutboundBlockedError:
        ports = " or ".join(map(str, sorted(self.ports)))
        return OutboundBlockedError(
            f"The address {url.address} is not allowed: requests go only to hosts of the public internet, on port "
            f"{ports}."
        )


def webhook_guard(settings: Settings) -> Guard:
    """Return which addresses webhooks may reach."""
    return Guard(settings.webhook_ports, settings.webhook_private_hosts)


@dataclass(frozen=True)
class Limits:
    """Limits of one request: `seconds` in all, `bytes` of the body to read, `redirects` to follow.

    Without `inflate` a compressed body is returned as it came.
    """

    seconds: float
    bytes: int
    redirects: int = 0
    inflate: bool = True


@dataclass(frozen=True)
class Answer:
    """The response: status, headers by lower-case name, and the first bytes of the body.

    `complete` says whether `body` is the whole body. `url` is the address that answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    url: str


def send(
    method: str,
    url: str,
    *,
    guard: Guard,
    limits: Limits,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request and return the response, whatever its status.

    Redirects are followed only for GET, and each of them is checked anew. Raises OutboundBlockedError if the guard
    forbids the request, OutboundFailedError if no complete response comes in time.
    """
    clock = Clock(limits.seconds)
    target = parse_http_url(url)
    hops = limits.redirects if method == "GET" else 0
    while True:
        with _translated(target):
            answer = _exchange(method, target, body, headers or {}, guard, limits, clock)
        if hops < 1 or answer.status not in REDIRECTS or "location" not in answer.headers:
            if answer.status in REDIRECTS and method == "GET" and limits.redirects:
                raise OutboundFailedError(f"The host {target.host} redirects more than {limits.redirects} times.")
            return answer
        hops -= 1
        followed = parse_http_url(urljoin(str(target), answer.headers["location"]))
        if (followed.host, followed.port) != (target.host, target.port):
            headers = None  # they may hold secrets that are meant for the first host alone
        target = followed


def _exchange(
    method: str, url: HttpUrl, body: bytes, headers: Mapping[str, str], guard: Guard, limits: Limits, clock: Clock
) -> Answer:
    sent = {"host": url.host_header, "accept-encoding": "identity", "user-agent": "shelfline", "connection": "close"}
    if body or method not in {"GET", "HEAD"}:
        sent["content-length"] = str(len(body))
    sent |= {name.lower(): value for name, value in headers.items()}
    connector = Connector(guard.addresses(url, clock), clock)
    target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
    with (
        httpcore.HTTPConnection(target.origin, ssl_context=guard.tls, network_backend=connector) as connection,
        connection.stream(method, target, headers=list(sent.items()), content=body) as response,
    ):
        received = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        encoding = received.get("content-encoding", "identity").strip().lower()
        pieces = response.iter_stream()
        if response.status in REDIRECTS and "location" in received:
            return Answer(response.status, received, b"", complete=False, url=str(url))
        content, complete = _bounded(_inflated(pieces, encoding) if limits.inflate else pieces, limits.bytes)
    return Answer(response.status, received, content, complete, str(url))


def _bounded(pieces: Iterable[bytes], max_bytes: int) -> tuple[bytes, bool]:
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > max_bytes:
            return bytes(content[:max_bytes]), False
    return bytes(content), True


def _inflated(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the decompressed body in bounded pieces, so that a decompression bomb costs only what is read of it."""
    if encoding in {"", "identity"}:
        yield from pieces
        return
    if encoding not in _WINDOW_BITS:
        raise OutboundFailedError(
            f"The answer is compressed by {encoding[:40]!r}, which is not supported: send it uncompressed."
        )
    inflating = zlib.decompressobj(_WINDOW_BITS[encoding])
    for piece in pieces:
        rest = piece
        while rest:
            yield inflating.decompress(rest, _PIECE_BYTES)
            rest = inflating.unconsumed_tail
    if not inflating.eof:
        raise OutboundFailedError("The answer's compressed body ends too early.")


@contextmanager
def _translated(url: HttpUrl) -> Iterator[None]:
    """Raise OutboundFailedError for every error of the connection and of the protocol, without the URL's query."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise OutboundFailedError(f"The host {url.host} did not answer in time.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, zlib.error) as error:
        raise OutboundFailedError(
            f"The host {url.host} gave no complete answer: {str(error)[:200] or 'the connection broke'}."
        ) from error
