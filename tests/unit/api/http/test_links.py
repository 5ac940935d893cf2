"""Links lead to this API, whatever the header Host says."""

from __future__ import annotations

import pytest
from flask import Flask

from api.http.links import link_base, register_links
from api.http.problems import register_problems
from workers.settings import Settings


def _answer(sent: str, **changes: object) -> tuple[int, str]:
    app = Flask("links")
    register_problems(app)
    register_links(app, Settings.model_validate(changes))
    app.add_url_rule("/", view_func=lambda: f"{link_base()}/v1/jobs")
    answer = app.test_client().get("/", headers={"Host": sent})
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("host", "changes", "link"),
    [
        ("127.0.0.1:5000", {}, "http://127.0.0.1:5000/v1/jobs"),
        ("[::1]:5000", {}, "http://[::1]:5000/v1/jobs"),
        ("localhost", {}, "http://localhost/v1/jobs"),
        ("evil.example", {}, "/v1/jobs"),
        ("evil.example:5000", {"allowed_hosts": "shelf.example"}, "/v1/jobs"),
        ("Shelf.example:5000", {"allowed_hosts": "shelf.example"}, "http://shelf.example:5000/v1/jobs"),
        ("shelf.example:5000", {"allowed_hosts": "shelf.example:5000"}, "http://shelf.example:5000/v1/jobs"),
        ("shelf.example", {"allowed_hosts": "shelf.example:5000"}, "/v1/jobs"),
        ("10.0.0.7:5000", {"host": "10.0.0.7"}, "http://10.0.0.7:5000/v1/jobs"),
        ("0.0.0.0:5000", {"host": "0.0.0.0"}, "/v1/jobs"),  # noqa: S104  binds nothing
        ("evil.example", {"public_url": "https://a.example/shelf/"}, "https://a.example/shelf/v1/jobs"),
        ("127.0.0.1", {"public_url": "https://a.example"}, "https://a.example/v1/jobs"),
    ],
)
def test_what_links_begin_with(host: str, changes: dict[str, object], link: str) -> None:
    """The public URL, or an allowed host, or nothing."""
    assert _answer(host, **changes) == (200, link)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:99999",
        "a:1:2",
        "http://a",
        "[::1",
        "[::1]a",
        "é.example",
        "-a",
        "a" * 300,
        "a?b",
    ],
)
def test_a_malformed_host(host: str) -> None:
    """It is refused, and not copied into anything."""
    status, text = _answer(host)
    assert status == 400
    assert "Host is malformed" in text
