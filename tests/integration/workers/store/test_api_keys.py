"""API keys in Redis, and what a process remembers of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr, ValidationError

from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from workers.errors import KeyNotFoundError, SettingsError, StoreUnavailableError
from workers.io.redis_link import RedisLink
from workers.settings import Settings, load_settings
from workers.settings_checks import parsed_rates
from workers.store.api_keys import ApiKey, KeyStore, KeyTerms, Scope, id_of, keys_exist, new_secret
from workers.store.key_cache import KNOWN_SECONDS, KeyCache
from workers.store.rate_limits import RateLimits
from workers.telemetry.masking import mask_keys

TERMS = KeyTerms(name="robot", owner="shop")
ADMIN_KEY = "sl_" + "a1" * 16


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(link: RedisLink) -> KeyStore:
    return KeyStore(link)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(store: KeyStore, settings: Settings, clock: Clock) -> KeyCache:
    return KeyCache(store, settings, clock)


@pytest.fixture
def nowhere() -> Iterator[RedisLink]:
    """A Redis that does not answer."""
    unconnected = RedisLink("redis://127.0.0.1:9/0")
    yield unconnected
    unconnected.close()


def known(keys: KeyStore | KeyCache, secret: str) -> ApiKey:
    """The key of a secret that has one."""
    key = keys.find(secret)
    assert key is not None
    return key


def test_a_key_is_stored_as_a_hash(store: KeyStore, link: RedisLink) -> None:
    """128 random bits that nothing in Redis gives away; found by nothing else."""
    secret, key = store.create(TERMS)

    assert re.fullmatch(r"sl_[0-9a-f]{32}", secret)
    assert store.find(secret) == key
    assert store.find(new_secret()) is None
    assert store.find(secret[:-1]) is None
    assert store.find("\ud800") is None
    everything = [link.client.hgetall(name) for name in link.client.keys("sl:keys*")]
    assert secret not in str(everything)
    assert secret[3:] not in str(everything)


def test_a_hash_that_only_begins_alike_is_another_key(store: KeyStore, link: RedisLink) -> None:
    """The id is a part of the hash; the whole one is compared."""
    secret, key = store.create(TERMS)
    link.client.hset("sl:keys", key.id, key.model_copy(update={"digest": key.digest[:-1] + "x"}).model_dump_json())

    assert store.find(secret) is None


def test_what_a_key_allows_is_kept(store: KeyStore) -> None:
    """All of it."""
    terms = KeyTerms(
        name="a b",
        owner="a@b",
        scopes=(Scope.ADMIN,),
        expires_at=time.time() + 60,
        rate="10/second;1000/minute",
        concurrency=3,
        max_waiting_images=4,
        max_blob_bytes=5,
    )
    secret, key = store.create(terms)

    stored = store.find(secret)

    assert stored == key
    assert stored.model_dump(include=set(KeyTerms.model_fields)) == terms.model_dump()
    assert [key.id for key in store.all()] == [id_of(secret)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"owner": ""},
        {"owner": "a:b"},
        {"owner": "a\n"},
        {"scopes": ()},
        {"scopes": ("all",)},
        {"rate": "fast"},
        {"concurrency": 0},
        {"max_waiting_images": 0},
        {"max_blob_bytes": -1},
        {"more": 1},
    ],
)
def test_terms_that_are_none(wrong: dict[str, object]) -> None:
    """A key on nobody's account, for nothing, or with a limit that is none, is not made."""
    with pytest.raises(ValidationError):
        KeyTerms.model_validate({"name": "a", "owner": "a", **wrong})


def test_a_revoked_key_stays_revoked(store: KeyStore) -> None:
    """And in the list, with the time of the first revocation; what was never there cannot be revoked."""
    secret, key = store.create(TERMS)
    assert known(store, secret).state(store.now()) == "active"

    first = store.revoke(key.id)
    again = store.revoke(key.id)

    now = store.now()
    assert (first.state(now), known(store, secret).state(now)) == ("revoked", "revoked")
    assert again.revoked_at == first.revoked_at
    with pytest.raises(KeyNotFoundError) as caught:
        store.revoke(new_secret())
    assert "sl_***" in str(caught.value)


def test_the_last_use_is_noted(store: KeyStore, link: RedisLink) -> None:
    """Once a minute at most, and only while the key lets in."""
    secret, key = store.create(TERMS)
    assert store.all()[0].last_used_at is None
    store.find(secret)
    noted = store.all()[0].last_used_at
    assert noted is not None
    assert abs(noted - time.time()) < 60

    store.find(secret)
    assert store.all()[0].last_used_at == noted
    link.client.hset("sl:keys:used", key.id, 1.0)
    store.find(secret)
    assert (store.all()[0].last_used_at or 0.0) > noted - 1
    link.client.hset("sl:keys:used", key.id, 1.0)
    store.revoke(key.id)
    store.find(secret)
    assert store.all()[0].last_used_at == 1.0


def test_whether_keys_are_needed(ring: KeyCache, store: KeyStore, clock: Clock, link: RedisLink) -> None:
    """From a second after the first key on, and then for ever: neither revoking it nor losing it opens anything."""
    assert not ring.required()
    _, key = store.create(TERMS)
    assert not ring.required()
    clock.now += KNOWN_SECONDS + 0.1
    assert ring.required()

    store.revoke(key.id)
    clock.now += 100
    assert ring.required()
    assert store.any()
    link.client.flushall()
    clock.now += 100
    assert ring.required()


def test_settings_that_demand_keys(store: KeyStore, settings: Settings) -> None:
    """Then no key has to be there."""
    for update in ({"require_keys": True}, {"admin_key": SecretStr(ADMIN_KEY)}):
        assert KeyCache(store, settings.model_copy(update=update)).required()


def test_the_key_of_the_settings(store: KeyStore, settings: Settings, nowhere: RedisLink) -> None:
    """It is an admin's, needs no Redis, and no other text passes for it."""
    settings = settings.model_copy(update={"admin_key": SecretStr(ADMIN_KEY)})
    key = known(KeyCache(KeyStore(nowhere), settings), ADMIN_KEY)

    assert key.allows(Scope.ADMIN)
    assert key.allows(Scope.SUBMIT)
    assert KeyCache(store, settings).find(ADMIN_KEY + "a") is None
    assert ADMIN_KEY not in repr(settings) + repr(key) + str(settings.model_dump())


@pytest.mark.parametrize("text", ["secret", "sl_short", "sl_" + "-" * 32])
def test_a_key_of_the_settings_that_can_be_guessed(text: str) -> None:
    """It is refused, without being repeated."""
    with pytest.raises(SettingsError) as caught:
        load_settings(admin_key=text)
    assert text not in str(caught.value)


def test_an_empty_key_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a mistake: keys would be required, and nobody would have one. The error says how to have none."""
    monkeypatch.setenv("SHELFLINE_ADMIN_KEY", "")
    with pytest.raises(SettingsError, match=r"^SHELFLINE_ADMIN_KEY is wrong: it is empty: leave the variable out, or"):
        load_settings()


def test_a_key_is_looked_up_once_a_second(
    ring: KeyCache, store: KeyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests come; so a revoked key lives for that long at most."""
    secret, key = store.create(TERMS)
    looks: list[str] = []
    find = KeyStore.find

    def looked_up(store: KeyStore, secret: str) -> ApiKey | None:
        looks.append(secret)
        return find(store, secret)

    monkeypatch.setattr(KeyStore, "find", looked_up)

    assert [ring.find(secret) for _ in range(5)] == [key] * 5
    assert looks == [secret]
    store.revoke(key.id)
    clock.now += KNOWN_SECONDS + 0.1
    assert ring.find(secret) is None
    assert len(looks) == 2


def test_a_key_is_good_the_moment_it_is_made(ring: KeyCache, store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is none is never remembered: nor does the memory grow with what is tried."""
    secret = new_secret()
    assert ring.find(secret) is None
    monkeypatch.setattr("workers.store.api_keys.new_secret", lambda: secret)
    store.create(TERMS)

    assert known(ring, secret).name == "robot"
    for _ in range(20):
        ring.find(new_secret())
    assert len(ring._known) == 1


def test_an_expired_key(ring: KeyCache, store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends on time, also while it is remembered."""
    end = time.time() + 100
    secret, _ = store.create(TERMS.model_copy(update={"expires_at": end}))
    assert ring.find(secret) is not None
    monkeypatch.setattr(RedisLink, "now", lambda _: end + 1)

    assert ring.find(secret) is None


def test_redis_that_is_down(nowhere: RedisLink, settings: Settings) -> None:
    """Nobody is let in, and nobody is told that no key is needed."""
    ring = KeyCache(KeyStore(nowhere), settings)

    for ask in (ring.required, lambda: ring.find(new_secret()), lambda: keys_exist("redis://127.0.0.1:9/0")):
        with pytest.raises(StoreUnavailableError):
            ask()


def test_redis_that_goes_down(tmp_path_factory: pytest.TempPathFactory, settings: Settings, clock: Clock) -> None:
    """A key that was good a second ago has to be looked up again, and cannot be."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    link = RedisLink(server.url)
    store = KeyStore(link)
    ring = KeyCache(store, settings, clock)
    secret, _ = store.create(TERMS)
    assert ring.find(secret) is not None
    assert ring.required()
    server.kill()
    clock.now += KNOWN_SECONDS + 0.1

    with pytest.raises(StoreUnavailableError):
        ring.find(secret)
    assert ring.required()
    link.close()


def test_keys_are_masked() -> None:
    """Whole ones and long parts, wherever they stand."""
    secret = new_secret()

    assert mask_keys(f"GET /v1/jobs?key={secret} a") == "GET /v1/jobs?key=sl_*** a"
    assert mask_keys(secret[:-5]) == "sl_***"
    assert mask_keys("sl_lane sl:keys") == "sl_lane sl:keys"


def test_rates(link: RedisLink) -> None:
    """Each counts in its own window; what exceeds one is not counted; every key has its own."""
    rates = RateLimits(link)
    first = rates.hit("a", "3/minute;100/hour")
    assert [(state.name, state.quota, state.window, state.left, state.exceeded) for state in first] == [
        ("3-in-60s", 3, 60, 2, False),
        ("100-in-3600s", 100, 3600, 99, False),
    ]
    for _ in range(2):
        assert not any(state.exceeded for state in rates.hit("a", "3/minute;100/hour"))

    refused = rates.hit("a", "3/minute;100/hour")
    assert [(state.name, state.left, state.exceeded) for state in refused] == [("3-in-60s", 0, True)]
    assert 1 <= refused[0].reset <= 60
    assert not rates.hit("b", "3/minute")[0].exceeded
    assert rates.hit("a", "100/hour")[0].left == 96


def test_a_rate_comes_back(link: RedisLink) -> None:
    """After its window; nothing is left in Redis of a key that stays away."""
    rates = RateLimits(link)
    while not rates.hit("a", "2/second")[0].exceeded:
        pass

    wait_until(lambda: not rates.hit("a", "2/second")[0].exceeded, what="a free place")
    assert all(link.client.pttl(name) > 0 for name in link.client.keys("sl:rates*"))


def test_rates_without_redis(nowhere: RedisLink) -> None:
    """A caller that cannot be counted is not let in."""
    with pytest.raises(StoreUnavailableError):
        RateLimits(nowhere).hit("a", "2/second")


@pytest.mark.parametrize("text", ["", "fast", "0/second", "10/secondx", "10/second;", "10", "9999999999/day"])
def test_a_rate_that_is_none(text: str) -> None:
    """It is refused where it is written: a setting or a key's terms."""
    with pytest.raises(ValueError, match="is not a rate"):
        parsed_rates(text)
    if text:
        with pytest.raises(SettingsError, match="SHELFLINE_KEY_RATE is wrong"):
            load_settings(key_rate=text)


def test_a_stored_key_of_another_version(store: KeyStore, link: RedisLink) -> None:
    """What an earlier version did not know has its default, what a later one adds is left aside."""
    secret, key = store.create(TERMS)
    old = key.model_dump(include={"id", "name", "owner", "scopes", "digest", "created_at"})
    link.client.hset("sl:keys", key.id, json.dumps({**old, "later": 1}))

    assert store.find(secret) == ApiKey.model_validate(old)
