"""Base64 as people send it: one decoder, which every place that takes base64 uses."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.requests.base64_images import decode_base64


def plain(content: bytes) -> str:
    return base64.b64encode(content).decode()


WAYS: dict[str, Callable[[bytes], str]] = {
    "plain": plain,
    "in lines": lambda content: base64.encodebytes(content).decode(),
    "in lines of Windows": lambda content: base64.encodebytes(content).decode().replace("\n", "\r\n\t"),
    "for URLs": lambda content: base64.urlsafe_b64encode(content).decode(),
    "without padding": lambda content: plain(content).rstrip("="),
    "for URLs, without padding": lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
    "percent-encoded": lambda content: quote(base64.encodebytes(content).decode(), safe=""),
    "percent-encoded in small letters": lambda content: (
        plain(content).replace("+", "%2b").replace("/", "%2f").replace("=", "%3d")
    ),
    "data URL": lambda content: f"data:image/jpeg;base64,{plain(content)}",
    "data URL, percent-encoded": lambda content: quote(f"data:image/jpeg;base64,{plain(content)}", safe=""),
    "data URL with parameters": lambda content: f"DATA:image/jpeg;charset=utf-8;BASE64,{plain(content).rstrip('=')}",
}


@pytest.mark.parametrize("way", WAYS)
@given(content=st.binary(max_size=300))
def test_every_way_gives_the_bytes(way: str, content: bytes) -> None:
    """Of any length, so with any padding, and with every character."""
    assert decode_base64(WAYS[way](content)) == content


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("YWJjZ", "cut off or has wrong padding"),
        ("YWJj=", "wrong padding"),
        ("YQ=", "wrong padding"),
        ("YQ===", "wrong padding"),
        ("YQ==YQ==", "not base64 .*: the character '=' at place 3$"),
        ("YW Jj", "not base64 .*: a space, perhaps in place of a `\\+`$"),
        ("YQ== ", ": a space, perhaps"),
        ("data:image/png;base64, YWJj", ": a space, perhaps"),
        ("\u00e4", "not base64 .*: the character '\u00e4' at place 1$"),
        ("%zz", "not base64 .*: the character '%' at place 1$"),
        ("%25" * 200_000, "not base64 .*: the character '%' at place 1$"),
        ("A\x00AA", r"not base64 .*: the character '\\x00' at place 2$"),
        ("data:image/png,YWJj", "`;base64,`"),
        ("data:YWJj", "`;base64,`"),
    ],
)
def test_what_is_no_base64_is_refused(text: str, says: str) -> None:
    """It says why, and nothing is guessed: a space may have been a plus sign."""
    with pytest.raises(ValueError, match=says):
        decode_base64(text)


@pytest.mark.parametrize("way", WAYS)
def test_the_routes_take_every_way(http: FlaskClient, way: str) -> None:
    """Items of a job; the robots and /v1/detect use the same field or decoder, and have tests of their own."""
    image = WAYS[way](bytes(range(256)))

    assert http.post("/v1/jobs", json={"items": [{"image": image}]}).status_code == 202


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/detect"])
def test_every_route_refuses_with_the_same_sentence(http: FlaskClient, route: str) -> None:
    """The one of the decoder; a robot's goes to the log, since its texts are fixed."""
    image = {"image": "YWJjZ"}
    answer = http.post(route, json={"items": [image]} if route == "/v1/jobs" else image)

    assert answer.status_code == 400
    assert "image: this is not base64 (RFC 4648, section 4): its end is cut off" in answer.get_json()["detail"]


def test_a_byte_order_mark_before_json_is_taken(http: FlaskClient) -> None:
    """In a body, and in a form field that is JSON."""
    body = b'\xef\xbb\xbf{"items": [{"image": "YWJj"}]}'
    assert http.post("/v1/jobs", data=body, content_type="application/json").status_code == 202
    form = {"metadata": '\ufeff{"a": "b"}', "images": (io.BytesIO(b"x"), "a.jpg")}
    answer = http.post("/v1/jobs", data=form, content_type="multipart/form-data")
    assert answer.status_code == 202, answer.text
    assert answer.get_json()["metadata"] == {"a": "b"}
