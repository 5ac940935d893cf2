"""Every route, every verb, every kind of caller: who gets what. A route that is not in the table fails."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from api.access.scopes import PUBLIC, SCOPES, scope_of
from api.app import create_app
from tests.support.manual_worker import ManualWorker
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.jobs.webhook import Webhook
from workers.robots import FORM_UPLOAD_PATH
from workers.settings import Settings
from workers.store.api_keys import KeyStore, KeyTerms, Scope, new_secret

VERBS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
WEBHOOK = {"url": "https://example.com/hook"}
ERROR = {"code": "image_missing", "detail": "It is gone.", "retryable": False}
OTHER_SCOPE = {Scope.SUBMIT: Scope.READ, Scope.READ: Scope.SUBMIT, Scope.ADMIN: Scope.READ, Scope.METRICS: Scope.READ}


def upload() -> Mapping[str, Any]:
    return {"data": {"images": (io.BytesIO(b"x"), "a.jpg")}}


@dataclass(frozen=True)
class Call:
    """A request and its status with the right key: `path` completes the route, `job` is the state of the job it needs.

    `owned`: another owner's key gets a 404. Verbs other than the first are GET's HEAD, and OPTIONS.
    """

    verb: str
    path: str
    status: int
    owned: bool = False
    job: str = "over"
    send: Callable[[], Mapping[str, Any]] = field(default=dict)


CALLS = {
    "docs.file": Call("GET", "/docs/swagger-ui.css", 200),
    "docs.openapi": Call("GET", "/openapi.json", 200),
    "docs.page": Call("GET", "/docs", 200),
    "docs.start": Call("GET", "/docs/start.js", 200),
    "health.healthz": Call("GET", "/healthz", 200),
    "health.readyz": Call("GET", "/readyz", 503),  # no worker runs here
    "metrics.metrics": Call("GET", "/metrics", 200),
    "events.events": Call("GET", "/v1/jobs/{job}/events", 200, owned=True),
    "items.annotated": Call("GET", "/v1/jobs/{job}/items/0/annotated", 409, owned=True),  # a failed image
    "items.item": Call("GET", "/v1/jobs/{job}/items/0", 200, owned=True),
    "images.image": Call("GET", "/v1/jobs/{job}/items/0/image", 200, owned=True),
    "jobs.cancel": Call("POST", "/v1/jobs/{job}/cancel", 200, owned=True, job="queued"),
    "jobs.delete": Call("DELETE", "/v1/jobs/{job}", 204, owned=True),
    "jobs.retry": Call("POST", "/v1/jobs/{job}/retry", 202, owned=True),
    "jobs.show": Call("GET", "/v1/jobs/{job}", 200, owned=True),
    "listing.listed": Call("GET", "/v1/jobs", 200),
    "models.listed": Call("GET", "/v1/models", 200),
    "models.show": Call("GET", "/v1/models/default", 200),
    "results.results": Call("GET", "/v1/jobs/{job}/results", 200, owned=True),
    "course.predict": Call("POST", FORM_UPLOAD_PATH, 504, send=upload),  # no worker runs here
    "robots.predict": Call("POST", "/api/v3/prediction/commodity", 200),  # a token is asked for: see test_robots.py
    "submissions.submit": Call("POST", "/v1/jobs", 202, send=upload),
    "synchronous.detect": Call("POST", "/v1/detect?wait=0", 202, send=upload),
    "pages.file": Call("GET", "/page/0/style.css", 200),
    "pages.show": Call("GET", "/", 200),
    "deliveries.listed": Call("GET", "/v1/jobs/{job}/deliveries", 200, owned=True),
    "deliveries.redeliver": Call("POST", "/v1/deliveries/x/redeliver", 404),  # whose it is: test_webhooks.py
    "webhooks.create": Call("POST", "/v1/webhooks", 201, send=lambda: {"json": WEBHOOK}),
    "webhooks.delete": Call("DELETE", "/v1/webhooks/{webhook}", 204, owned=True),
    "webhooks.disable": Call("POST", "/v1/webhooks/{webhook}/disable", 200, owned=True),
    "webhooks.enable": Call("POST", "/v1/webhooks/{webhook}/enable", 200, owned=True),
    "webhooks.listed": Call("GET", "/v1/webhooks", 200),
    "webhooks.rotate": Call("POST", "/v1/webhooks/{webhook}/rotate", 200, owned=True, send=lambda: {"json": {}}),
    "webhooks.show": Call("GET", "/v1/webhooks/{webhook}", 200, owned=True),
    "webhooks.test": Call("POST", "/v1/webhooks/{webhook}/test", 202, owned=True),
    "webhooks.update": Call("PUT", "/v1/webhooks/{webhook}", 200, owned=True, send=lambda: {"json": WEBHOOK}),
}


@dataclass
class Api:
    """The API with its keys, and jobs of the owner `a`."""

    app: Flask
    backend: Backend
    keys: KeyStore
    worker: ManualWorker
    webhook: str  # an endpoint of the owner `a`

    @property
    def http(self) -> FlaskClient:
        return self.app.test_client()

    def key(self, owner: str, *scopes: Scope, **terms: Any) -> str:
        return self.keys.create(KeyTerms(name=owner, owner=owner, scopes=scopes, **terms))[0]

    def ask(self, verb: str, call: Call, job: str, key: str | None) -> tuple[int, str]:
        """The status, and the code of the problem where there is one."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        path = call.path.format(job=job, webhook=self.webhook)
        with self.http.open(path, method=verb, headers=headers, **(call.send() if verb == call.verb else {})) as answer:
            return answer.status_code, "" if answer.status_code < 400 or verb == "HEAD" else answer.get_json()["code"]

    def job(self, state: str) -> str:
        """A job of `a`, queued or over with a failed image."""
        headers = {"Authorization": f"Bearer {self.key('a', Scope.SUBMIT)}"}
        job = str(self.http.post("/v1/jobs", headers=headers, **upload()).get_json()["id"])
        while state == "over" and not self.backend.store.get(job).state.terminal:
            self.worker.settle_all("failed", error=ERROR)
        return job


@pytest.fixture
def api(settings: Settings, link: RedisLink) -> Iterator[Api]:
    """The API as others can reach it."""
    settings = settings.model_copy(update={"host": "192.0.2.1", "detect_wait_seconds": 0.1})
    backend = Backend(settings)
    webhook = backend.endpoints.create("a", Webhook(WEBHOOK["url"])).id
    yield Api(create_app(settings, backend), backend, KeyStore(link), ManualWorker(settings, link), webhook)
    backend.store.close()


def test_every_route_is_in_the_tables(api: Api) -> None:
    """In this file's, so that it is tested here; and in the API's: with a scope, or in the explicit public list."""
    endpoints = {rule.endpoint for rule in api.app.url_map.iter_rules()}

    assert endpoints == set(CALLS)
    assert endpoints == set(SCOPES) | PUBLIC | {"robots.predict"}
    assert set(SCOPES) & PUBLIC == set()
    for rule in api.app.url_map.iter_rules():
        methods = (rule.methods or set()) - {"OPTIONS", "HEAD"}
        assert {CALLS[rule.endpoint].verb} == methods, f"{rule.endpoint} has further verbs: two functions, two scopes"


def test_a_route_in_no_table_is_for_admins() -> None:
    """What somebody forgot is closed."""
    assert scope_of("jobs.forgotten") is Scope.ADMIN


@pytest.mark.parametrize("endpoint", CALLS)
def test_the_matrix(api: Api, endpoint: str) -> None:
    """Of every verb: no key, a wrong, a revoked, an expired one, another scope, another owner's, the right one."""
    call, scope = CALLS[endpoint], scope_of(endpoint)
    job = api.job(call.job) if "{job}" in call.path else ""
    at_path = _verbs_at(api.app, call.path.format(job=job or "x", webhook=api.webhook))
    right, admin = api.key("a", scope or Scope.READ), api.key("c", Scope.ADMIN)
    other_owner, other_scope = api.key("b", scope or Scope.READ), api.key("a", OTHER_SCOPE[scope or Scope.READ])
    revoked = api.key("a", Scope.ADMIN)
    api.keys.revoke(api.keys.all()[-1].id)
    expired = api.key("a", Scope.ADMIN, expires_at=1.0)
    turned_away = {None: "key_missing"} | dict.fromkeys((new_secret(), revoked, expired, "sl_", "x y"), "key_invalid")

    for verb in sorted(VERBS, key=lambda verb: verb == call.verb):  # the one that changes something comes last
        if at_path.get(verb, endpoint) != endpoint:
            continue  # another route's
        success = {"OPTIONS": 204, "HEAD": call.status, call.verb: call.status}.get(verb, 405)
        if scope is None or verb not in at_path:
            for key in (*turned_away, other_owner, other_scope, right, admin):
                assert api.ask(verb, call, job, key)[0] == (success if verb in at_path else 405), (verb, key)
            continue
        for key, code in turned_away.items():
            assert api.ask(verb, call, job, key) == (401, "" if verb == "HEAD" else code), (verb, key)
        assert api.ask(verb, call, job, other_scope) == (403, "" if verb == "HEAD" else "scope_missing"), verb
        others = 404 if call.owned and verb != "OPTIONS" else success
        assert api.ask(verb, call, job, other_owner)[0] == others, verb
        assert api.ask(verb, call, job, right)[0] == success, verb


@pytest.mark.parametrize("endpoint", [name for name, call in CALLS.items() if call.owned])
def test_an_admin_key_is_for_everything(api: Api, endpoint: str) -> None:
    """Whoever the job belongs to."""
    call = CALLS[endpoint]
    job = api.job(call.job)

    assert api.ask(call.verb, call, job, api.key("c", Scope.ADMIN))[0] == call.status


def _verbs_at(app: Flask, path: str) -> dict[str, str]:
    """The endpoint that each verb leads to."""
    adapter, path = app.url_map.bind("h"), path.partition("?")[0]
    endpoints = {}
    for verb in VERBS:
        if adapter.test(path, verb):
            rule, _ = adapter.match(path, verb, return_rule=True)
            assert isinstance(rule, Rule)
            endpoints[verb] = rule.endpoint
    return endpoints
