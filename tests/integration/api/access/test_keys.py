"""What a key may do, on a real Redis: its rate, its requests under way, its quota, and what callers are told."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.access.gate import ConcurrentRequests
from api.access.refusals import ConcurrencyLimitedError
from api.app import create_app
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.io.redis_link import RedisLink
from workers.settings import Settings
from workers.store.api_keys import KeyStore, KeyTerms, Scope

JOB = f"/v1/jobs/job_{0:032x}"


@pytest.fixture
def http(settings: Settings, backend: Backend) -> FlaskClient:
    """The API, with a setting that bounds keys without a rate."""
    settings = settings.model_copy(update={"key_rate": "1000/minute", "require_keys": True})
    return create_app(settings, backend).test_client()


@pytest.fixture
def keys(link: RedisLink) -> KeyStore:
    return KeyStore(link)


def bearer(keys: KeyStore, **terms: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.create(KeyTerms(name='a', owner=terms.pop('owner', 'a'), **terms))[0]}"}


def upload(http: FlaskClient, headers: dict[str, str], count: int) -> Any:
    files = [(io.BytesIO(b"x"), f"{number}.jpg") for number in range(count)]
    return http.post("/v1/jobs", data={"images": files}, headers=headers)


def test_callers_are_told_what_is_wrong(http: FlaskClient, keys: KeyStore) -> None:
    """With a challenge as RFC 6750 has it, and never with the key."""
    none = http.get("/v1/models")
    wrong = http.get("/v1/models", headers={"Authorization": "Bearer sl_0123456789abcdef0123456789abcdef"})
    scope = http.get("/v1/models", headers=bearer(keys, scopes=(Scope.SUBMIT,)))

    assert [answer.status_code for answer in (none, wrong, scope)] == [401, 401, 403]
    assert none.headers["WWW-Authenticate"] == 'Bearer realm="shelfline"'
    assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="shelfline", error="invalid_token"'
    expected = 'Bearer realm="shelfline", error="insufficient_scope", scope="read"'
    assert scope.headers["WWW-Authenticate"] == expected
    assert {answer.mimetype for answer in (none, wrong, scope)} == {"application/problem+json"}
    assert "0123456789" not in wrong.text


@pytest.mark.parametrize("header", ["Bearer", "Basic YTpi", "sl_x", "Bearer  ", "Bearer a b", "Bearer \xff"])
def test_what_is_no_bearer_token(http: FlaskClient, header: str) -> None:
    """It is a wrong key, whatever it is."""
    assert http.get("/v1/models", headers={"Authorization": header}).status_code == 401


def test_the_scheme_has_no_case(http: FlaskClient, keys: KeyStore) -> None:
    """RFC 9110 says so."""
    header = bearer(keys)["Authorization"].replace("Bearer ", "bearer  ")

    assert http.get("/v1/models", headers={"Authorization": header}).status_code == 200


def test_a_rate(http: FlaskClient, keys: KeyStore) -> None:
    """Beyond it 429, which says when to come back; each answer says what is left."""
    mine = bearer(keys, rate="2/minute")
    answers = [http.get("/v1/models", headers=mine) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"2-in-60s";q=2;w=60'}
    refused = answers[2]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (refused.get_json()["code"], refused.get_json()["retryable"]) == ("rate_limited", True)
    assert http.get("/v1/models", headers=bearer(keys, rate="2/minute")).status_code == 200


def test_a_key_in_a_full_redis(http: FlaskClient, keys: KeyStore, link: RedisLink) -> None:
    """It may cancel and delete, which makes room; its requests are not counted meanwhile, and nothing is accepted."""
    mine = bearer(keys, rate="1/minute")
    link.client.config_set("maxmemory", 1)
    try:
        answers = [http.delete(JOB, headers=mine), http.post(f"{JOB}/cancel", headers=mine), upload(http, mine, 1)]
    finally:
        link.client.config_set("maxmemory", 0)

    assert [answer.status_code for answer in answers] == [404, 404, 503]
    assert not any("RateLimit" in answer.headers for answer in answers)


def test_a_rate_of_the_settings(http: FlaskClient, keys: KeyStore) -> None:
    """For keys that name none; what is public is neither counted nor told."""
    assert http.get("/v1/models", headers=bearer(keys)).headers["RateLimit-Policy"] == '"1000-in-60s";q=1000;w=60'
    assert "RateLimit" not in http.get("/healthz", headers=bearer(keys)).headers


def test_requests_under_way(http: FlaskClient, keys: KeyStore) -> None:
    """A request is under way until its answer was taken whole; another key's does not count."""
    mine, others = bearer(keys, concurrency=1), bearer(keys, concurrency=1)
    with upload(http, mine, 1) as accepted:
        job = accepted.get_json()["id"]

    with http.get(f"/v1/jobs/{job}/results", headers=mine, buffered=False) as answer:
        assert answer.status_code == 200
        refused = http.get("/v1/models", headers=mine)
        assert http.get("/v1/models", headers=others).status_code == 200
    assert (refused.status_code, refused.get_json()["code"]) == (429, "concurrency_limited")
    assert refused.headers["Retry-After"] == "1"
    for path, status in (("/v1/models", 200), (JOB, 404), ("/v1/jobs?wrong=1", 400), ("/v1/models", 200)):
        with http.get(path, headers=mine) as answer:
            assert answer.status_code == status


def test_nothing_is_kept_of_keys_that_are_away() -> None:
    """The counts do not grow with the keys that were seen."""
    requests = ConcurrentRequests()
    leaves = [requests.enter("a", 2), requests.enter("a", 2)]
    with pytest.raises(ConcurrencyLimitedError):
        requests.enter("a", 2)
    for leave in leaves:
        leave()

    assert requests._counts == {}


def test_a_quota_of_the_key(http: FlaskClient, keys: KeyStore) -> None:
    """It stands in for the setting: of waiting images and of stored bytes, on the account of the owner."""
    small = bearer(keys, owner="small", max_waiting_images=2)
    assert upload(http, small, 3).status_code == 413
    assert upload(http, small, 2).status_code == 202
    full = upload(http, bearer(keys, owner="small", max_waiting_images=2), 1)
    assert (full.status_code, full.get_json()["code"]) == (503, "queue_full")
    assert upload(http, bearer(keys, owner="small"), 1).status_code == 202
    light = bearer(keys, owner="light", max_blob_bytes=2)
    assert upload(http, light, 2).status_code == 202
    assert upload(http, light, 1).status_code == 503
    assert upload(http, bearer(keys, owner="other"), 3).status_code == 202


def test_an_event_stream_ends_with_its_key(http: FlaskClient, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on for whoever was let in once; that of a good key does."""
    monkeypatch.setattr("api.routes.events.HEARTBEAT_SECONDS", 0.05)
    job = upload(http, bearer(keys), 1).get_json()["id"]
    streams = [http.get(f"/v1/jobs/{job}/events", headers=bearer(keys), buffered=False) for _ in range(2)]
    good, bad = (stream.iter_encoded() for stream in streams)
    assert [next(chunks)[:6] for chunks in (good, bad)] == [b"retry:", b"retry:"]
    keys.revoke(keys.all()[-1].id)

    assert len(list(bad)) < 1000  # it ends
    assert next(good)
    assert len(list(itertools.islice(good, 50))) == 50
    for stream in streams:
        stream.close()


def test_keys_of_one_owner_share_its_jobs(http: FlaskClient, keys: KeyStore) -> None:
    """So a key can be replaced by another."""
    job = upload(http, bearer(keys, owner="shop"), 1).get_json()["id"]

    assert http.get(f"/v1/jobs/{job}", headers=bearer(keys, owner="shop")).status_code == 200
    assert http.get(f"/v1/jobs/{job}", headers=bearer(keys, owner="chop")).status_code == 404


def test_with_keys_any_name_will_do(http: FlaskClient, keys: KeyStore) -> None:
    """Who calls is known by the key, so neither Host nor Origin is asked for."""
    foreign = {"Host": "shelf.example", "Origin": "https://shelf.example"}

    assert http.get("/v1/models", headers=bearer(keys) | foreign).status_code == 200
    assert http.get("/healthz", headers=foreign).status_code == 200
    assert http.get("/v1/models", headers=foreign).status_code == 401


def test_the_first_key_closes_the_door(settings: Settings, backend: Backend, keys: KeyStore) -> None:
    """An API that asked for no key asks for one from then on; a name that is not this machine's is then none of it."""
    http = create_app(settings, backend).test_client()
    assert http.get("/v1/models").status_code == 200
    assert http.get("/healthz", headers={"Host": "shelf.example"}).status_code == 403
    backend.keys._now = lambda: 1e9  # the second is over
    mine = bearer(keys)

    assert http.get("/v1/models").status_code == 401
    assert http.get("/v1/models", headers=mine).status_code == 200
    assert http.get("/healthz", headers={"Host": "shelf.example"}).status_code == 200


@pytest.mark.parametrize("require_keys", [True, False])
def test_nobody_is_let_in_while_redis_is_away(settings: Settings, require_keys: bool) -> None:  # noqa: FBT001  a case
    """503 for whoever comes with a key, and, where it is not known whether one is needed, for who comes without."""
    settings = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0", "require_keys": require_keys})
    http = create_app(settings, Backend(settings)).test_client()
    key = {"Authorization": "Bearer sl_0123456789abcdef0123456789abcdef"}

    for path in ("/v1/models", JOB, f"{JOB}/results"):
        assert (http.get(path, headers=key).status_code, http.get(path).status_code) == (
            503,
            401 if require_keys else 503,
        )
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("require_keys", [True, False])
def test_the_figures_say_that_redis_is_away(settings: Settings, require_keys: bool) -> None:  # noqa: FBT001  a case
    """To an alert, whose key cannot be looked up then; and nothing else to anyone."""
    settings = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0", "require_keys": require_keys})
    answer = (
        create_app(settings, Backend(settings))
        .test_client()
        .get("/metrics", headers={"Authorization": "Bearer sl_0123456789abcdef0123456789abcdef"})
    )
    names = {family.name: family.samples[0].value for family in text_string_to_metric_families(answer.text)}

    assert answer.status_code == 200
    assert names == {"shelfline_info": 1, "shelfline_redis_up": 0}


def test_redis_goes_away_between_key_and_rate(
    http: FlaskClient, keys: KeyStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be counted is not let in."""
    mine = bearer(keys)

    def down(*_: object) -> None:
        raise StoreUnavailableError("Redis does not answer.")

    monkeypatch.setattr(backend.rates, "hit", down)
    assert http.get("/v1/models", headers=mine).status_code == 503


def test_a_key_comes_back_in_no_answer(http: FlaskClient, keys: KeyStore) -> None:
    """Wherever it was sent: as the id of a job, a field's name, a value, the id of the request."""
    mine = bearer(keys)
    secret = mine["Authorization"].removeprefix("Bearer ")
    answers = [
        http.get(f"/v1/jobs/{secret}", headers=mine),
        http.get(f"/v1/jobs?{secret}=1", headers=mine),
        http.get(f"/v1/jobs?limit={secret}", headers=mine),
        http.get(f"/v1/models/{secret}", headers=mine),
        http.get(f"/{secret}", headers=mine),
        http.post("/v1/jobs", json={"folder": f"/{secret}"}, headers=mine),
        http.get("/v1/models", headers={**mine, "X-Request-ID": secret}),
    ]

    assert [answer.status_code for answer in answers] == [404, 400, 400, 404, 404, 403, 200]
    assert [answer for answer in answers if secret in answer.text + str(answer.headers)] == []
