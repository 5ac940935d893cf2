from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.support.servers.origin import Origin, answer, origin, raw
from workers.errors import OutboundBlockedError, OutboundFailedError
from workers.io.guarded_http import Answer, Guard, Limits, send
from workers.io.sockets import Clock

LIMITS = Limits(5.0, 100_000, 3)


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as server:
        yield server


def opened(*servers: Origin, **more: Any) -> Guard:
    """A guard that lets requests through to these servers of the loopback interface, by host and port."""
    return Guard(private_hosts=frozenset(server.host for server in servers), **more)


def get(web: Origin, path: str, limits: Limits = LIMITS, **more: Any) -> Answer:
    return send("GET", web.url + path, guard=opened(web), limits=limits, **more)


def test_an_answer_comes_whole(web: Origin) -> None:
    """Status, headers and body; the request names the host and asks for no compression."""
    web.handlers["/a%20b?x=%C3%A9"] = answer(b"hello", status=201, X_Thing="1")

    response = get(web, "/a%20b?x=é")

    assert (response.status, response.body, response.complete, response.headers["x-thing"]) == (
        201,
        b"hello",
        True,
        "1",
    )
    head = web.requests[0].lower()
    assert f"host: {web.host}\r\n".encode() in head
    assert b"accept-encoding: identity\r\n" in head


def test_a_post_carries_its_body_and_follows_nothing(web: Origin) -> None:
    """What is posted to one address is never sent on to another."""
    web.handlers["/hook"] = answer(status=307, Location="/other")

    response = send(
        "POST", f"{web.url}/hook", guard=opened(web), limits=LIMITS, body=b"{}", headers={"X-Signature": "s"}
    )

    assert (response.status, len(web.requests)) == (307, 1)
    assert b"x-signature: s" in web.requests[0].lower()
    assert b"content-length: 2" in web.requests[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://１２７.0.0.1/",  # noqa: RUF001  digits of another script
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "https://[fd00:ec2::254]/",
        "http://8.8.8.8:22/",
        "http://user:secret@8.8.8.8/",
        "http://8.8.8.8@127.0.0.1/",
        "http://@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "//8.8.8.8/",
        "http:8.8.8.8",
        "http:///x",
        "http://8.8.8.8\\@127.0.0.1/",
        "http://8.8.8.8/\r\nHost: x",
        "http://[::1/",
        "http://a:99999/",
        "http://a" + "a" * 9000,
        "http://" + "ü" * 300 + "/",
    ],
)
def test_what_is_never_asked(url: str) -> None:
    """Addresses that are not public, in every spelling; other schemes; credentials; odd ports; what is no URL."""
    with pytest.raises(OutboundBlockedError) as caught:
        send("GET", url, guard=Guard(), limits=LIMITS)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://localhost/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://192.168.0.7:8080/",
        *(f"https://8.8.8.8:{port}/" for port in (0, 22, 25, 6379, 8080)),
    ],
)
def test_a_url_is_refused_before_it_is_stored(url: str) -> None:
    """By the rule of the requests themselves, and in one sentence."""
    with pytest.raises(OutboundBlockedError, match="requests go only to hosts of the public internet, on port 80 or"):
        Guard().check(url)


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "https://[64:ff9b::808:808]/", "http://[2606:4700::1111]/"])
def test_a_public_url_may_be_stored(url: str) -> None:
    """Also one that an IPv6-only host reaches through NAT64."""
    Guard().check(url)


def test_a_name_is_looked_up_before_its_url_is_stored() -> None:
    """A name that leads to a private address is refused. One that is not found passes: it may be found later."""
    with pytest.raises(OutboundBlockedError):
        Guard(resolve=lambda *_: ["8.8.8.8", "10.0.0.1"]).check("http://a.example/")

    def nowhere(*_: object) -> list[str]:
        raise OutboundFailedError("The host a.example was not found.")

    Guard(resolve=nowhere).check("http://a.example/")
    Guard(private_hosts=frozenset(("a.example",)), resolve=lambda *_: ["10.0.0.1"]).check("http://a.example:9000/")


def test_one_private_address_among_public_ones() -> None:
    """A host that is also private is refused, whichever address would have been asked first."""
    guard = Guard(resolve=lambda *_: ["1.1.1.1", "2606:4700::1111", "127.0.0.1"])

    with pytest.raises(OutboundBlockedError, match="public internet"):
        send("GET", "http://photos.example/", guard=guard, limits=LIMITS)


def test_the_address_that_was_judged_is_the_one_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere at a second look-up is looked up once, and the socket gets the judged address."""
    looked_up: list[str] = []
    connected: list[str] = []

    def rebinding(host: str, _port: int, _clock: Clock) -> list[str]:
        looked_up.append(host)
        return ["1.1.1.1"] if len(looked_up) == 1 else ["127.0.0.1"]

    def connect(address: tuple[str, int], _timeout: float) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(OutboundFailedError):
        send("GET", "http://rebind.example/", guard=Guard(resolve=rebinding), limits=LIMITS)

    assert (looked_up, connected) == (["rebind.example"], ["1.1.1.1"])


def test_the_second_address_of_a_host(web: Origin) -> None:
    """Where the first does not answer the next is asked, within the same deadline."""
    port = web.server_address[1]
    web.handlers["/"] = answer(b"here")
    guard = Guard(private_hosts=frozenset({f"two.example:{port}"}), resolve=lambda *_: ["127.0.0.9", "127.0.0.1"])

    assert send("GET", f"http://two.example:{port}/", guard=guard, limits=LIMITS).body == b"here"


def test_redirects_are_judged_anew(web: Origin) -> None:
    """One that stays is followed; one to a private address, another scheme, or round and round is not."""
    web.handlers["/a"] = answer(status=302, Location="b?x=1")
    web.handlers["/b?x=1"] = answer(status=308, Location=f"{web.url}/c")
    web.handlers["/c"] = answer(b"end")
    assert (get(web, "/a").body, get(web, "/a").url) == (b"end", f"{web.url}/c")
    with origin() as other:
        other.handlers["/secret"] = answer(b"secret")
        for number, place in enumerate(
            (f"{other.url}/secret", "http://169.254.169.254/", "file:///etc/passwd", f"http://u:p@{web.host}/c")
        ):
            web.handlers[f"/{number}"] = answer(status=301, Location=place)
            with pytest.raises(OutboundBlockedError):
                get(web, f"/{number}")
        assert other.requests == []
    web.handlers["/loop"] = answer(status=302, Location="/loop")
    web.requests.clear()
    with pytest.raises(OutboundFailedError, match="more than 3 times"):
        get(web, "/loop")
    assert len(web.requests) == 4


def test_headers_stay_with_the_host_they_were_meant_for(web: Origin) -> None:
    """A redirect to another host, where it is allowed, does not carry them on."""
    with origin() as other:
        web.handlers["/a"] = answer(status=302, Location=f"{other.url}/b")
        other.handlers["/b"] = answer(b"end")
        send("GET", f"{web.url}/a", guard=opened(web, other), limits=LIMITS, headers={"X-Secret": "s"})

        assert b"x-secret" in web.requests[0].lower()
        assert b"x-secret" not in other.requests[0].lower()


def test_a_named_host_is_opened_on_its_port_only(web: Origin) -> None:
    """`host:port` opens that port; `host` opens all of them."""
    web.handlers["/"] = answer(b"ok")
    with origin() as other, pytest.raises(OutboundBlockedError):
        send("GET", other.url, guard=opened(web), limits=LIMITS)
    guard = Guard(private_hosts=frozenset({"127.0.0.1"}))
    assert send("GET", web.url, guard=guard, limits=LIMITS).body == b"ok"


def test_a_huge_body_is_read_up_to_the_limit(web: Origin) -> None:
    """With a length or without one, no more is read, and the answer says that there was more."""

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 x\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    web.handlers["/long"] = endless
    web.handlers["/exact"] = answer(b"x" * LIMITS.bytes)

    response = get(web, "/long")

    assert (len(response.body), response.complete) == (LIMITS.bytes, False)
    assert get(web, "/exact").complete


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_bomb(web: Origin, encoding: str) -> None:
    """What inflates without end is inflated up to the limit only."""
    bomb = b"\0" * 50_000_000
    content = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    web.handlers["/bomb"] = answer(content, Content_Encoding=encoding)

    response = get(web, "/bomb")

    assert (len(response.body), response.complete) == (LIMITS.bytes, False)


def test_compressed_although_asked_not_to(web: Origin) -> None:
    """It is read all the same; what is cut off, damaged, or compressed in an unknown way is an error."""
    content = gzip.compress(b"hello" * 100)
    web.handlers["/whole"] = answer(content, Content_Encoding="gzip")
    web.handlers["/cut"] = answer(content[:-12], Content_Encoding="gzip")
    web.handlers["/damaged"] = answer(b"no gzip", Content_Encoding="gzip")
    web.handlers["/odd"] = answer(content, Content_Encoding="br")

    assert get(web, "/whole").body == b"hello" * 100
    for path in ("/cut", "/damaged", "/odd"):
        with pytest.raises(OutboundFailedError):
            get(web, path)


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 x\r\nContent-Length: 99999\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def dripping_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 x\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.05)


def silent(connection: socket.socket) -> None:
    connection.recv(1)  # until the client goes


@pytest.mark.parametrize("handler", [dripping, dripping_head, silent])
def test_the_deadline_is_for_the_whole_request(web: Origin, handler: Any) -> None:
    """A server that drips bytes, or says nothing, is left at the deadline."""
    web.handlers["/slow"] = handler
    begun = time.monotonic()

    with pytest.raises(OutboundFailedError, match="in time"):
        get(web, "/slow", Limits(0.5, 100_000))

    assert time.monotonic() - begun < 4


def test_a_connection_that_nobody_accepts() -> None:
    """Where the handshake gets no answer the deadline ends it."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # takes the only place
            host = f"127.0.0.1:{full.getsockname()[1]}"
            guard = Guard(private_hosts=frozenset({host}))
            with pytest.raises(OutboundFailedError, match="in time"):
                send("GET", f"http://{host}/", guard=guard, limits=Limits(0.5, 10))


def test_a_look_up_that_hangs() -> None:
    """The resolver is bounded by the same deadline, and a host that is not there is said to be."""
    with pytest.raises(OutboundFailedError, match="not found"):
        send("GET", "http://nowhere.invalid/", guard=Guard(), limits=LIMITS)
    with pytest.raises(OutboundFailedError, match="no address"):
        send("GET", "http://empty.example/", guard=Guard(resolve=lambda *_: []), limits=LIMITS)


def test_a_slow_look_up_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up cannot be stopped, so it is waited for no longer than the deadline."""
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(OutboundFailedError, match="in time"):
        send("GET", "http://slow.example/", guard=Guard(), limits=Limits(0.2, 10))
    over.set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 x\r\nX: " + b"a" * 300_000,
        b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_answers_that_are_none(web: Origin, content: bytes) -> None:
    """Whatever breaks the protocol, or breaks off, is one error."""
    web.handlers["/"] = raw(content)

    with pytest.raises(OutboundFailedError, match="no complete answer"):
        get(web, "/")


def test_a_port_that_nobody_listens_on() -> None:
    """A refused connection is said at once."""
    with origin() as gone:
        guard = opened(gone)
    with pytest.raises(OutboundFailedError, match="refused"):
        send("GET", gone.url, guard=guard, limits=LIMITS)


def test_certificates_are_verified_with_the_host_name() -> None:
    """An unknown authority and another host's certificate are refused; the right one is not."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    for names, tls, fine in (
        (["127.0.0.1"], trusting, True),
        (["127.0.0.1"], None, False),
        (["other.example"], trusting, False),
    ):
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(serving)
        with origin(serving) as web:
            web.handlers["/"] = answer(b"secure")
            guard = opened(web, tls=tls) if tls else opened(web)
            if fine:
                assert send("GET", web.url, guard=guard, limits=LIMITS).body == b"secure"
            else:
                with pytest.raises(OutboundFailedError, match="certificate"):
                    send("GET", web.url, guard=guard, limits=LIMITS)
                assert web.requests == []
