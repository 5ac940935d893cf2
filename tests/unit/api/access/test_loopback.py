"""An API without keys is for this machine's programs."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(http: FlaskClient, host: str) -> None:
    """With and without a port."""
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["shelf.example.org", "127.0.0.1.example.org:5000", "10.0.0.1", "[::2]", "a b"])
def test_other_names_are_refused(http: FlaskClient, host: str) -> None:
    """A name that was made to lead here is not this machine's."""
    answer = http.get("/healthz", headers={"Host": host})
    assert answer.status_code in {400, 403}
    assert answer.get_json()["code"] in {"host_not_allowed", "invalid_request"}


@pytest.mark.parametrize(
    ("origin", "status"), [("http://localhost:5000", 200), ("https://example.org", 403), ("null", 403)]
)
def test_pages_of_other_sites_are_refused(http: FlaskClient, origin: str, status: int) -> None:
    """A form of another site needs no leave of the browser to be posted."""
    assert http.get("/healthz", headers={"Origin": origin}).status_code == status
