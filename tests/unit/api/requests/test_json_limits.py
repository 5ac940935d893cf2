"""Values are counted while a body is read, and long strings take a detour around the parser."""

from __future__ import annotations

import json

import pytest

from api.http.errors import RequestTooLargeError
from api.requests.json_limits import LONG_BYTES, LongStrings, ValueCounter, narrowed

LONG = "QUJD" * (LONG_BYTES // 4) + "RA=="


def _counts(body: bytes, size: int, limit: int) -> bool:
    counter = ValueCounter(limit)
    try:
        for at in range(0, len(body), size):
            counter.add(body[at : at + size])
    except RequestTooLargeError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"[1,1,1]", 3),
        (b'{"a":1,"b":[2,{}]}', 5),
        (b'{"a,[{":"],{,"}', 1),
        (rb'["a\",[\"",","]', 2),
        (rb'["\\",1,"\\\",,",2]', 4),
        (rb'["\\\\",",,"]', 2),
        ('["é,","\U0001f600"]'.encode(), 2),
    ],
)
def test_values_are_counted_wherever_a_piece_ends(body: bytes, values: int) -> None:
    """The limit that just suffices does so for pieces of each size; a smaller one never does."""
    for size in range(1, len(body) + 1):
        assert _counts(body, size, values), size
        assert not _counts(body, size, values - 1), size


def test_strings_without_values_are_counted_too() -> None:
    """They are no JSON, and would take long to look through."""
    assert not _counts(b'""' * 100, 64, 10)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (LONG, LONG),
        (LONG.replace("QUJDQUJD", "QUJ\\u0044QUJD").replace("RA==", "R\\/\\u002b=\\r\\n"), None),
        ("\\n".join(LONG[at : at + 76] for at in range(0, len(LONG), 76)), None),
    ],
)
def test_a_long_string_comes_back_as_it_was(written: str, meant: str | None) -> None:
    """Its escapes are resolved, also where a piece of it ends, and the text that is parsed is short."""
    body = f'{{"custom_id":"a\\"b","image":"{written}"}}'.encode()
    strings = LongStrings(body)
    parsed = json.loads(strings.text)

    assert len(strings.text) < 200
    assert parsed["custom_id"] == 'a"b'
    assert strings.take(parsed["custom_id"]) == 'a"b'
    assert strings.take(parsed["image"]) == (json.loads(f'"{written}"') if meant is None else meant)
    assert strings.take(parsed["image"]) == parsed["image"]  # a mark stands for its string once


@pytest.mark.parametrize("bad", ["\x01", "\\x", "\\u12"])
def test_a_long_string_is_checked(bad: str) -> None:
    """What the parser would refuse in a short one."""
    strings = LongStrings(f'["{LONG}{bad}{LONG}"]'.encode())
    with pytest.raises(json.JSONDecodeError):
        strings.take(json.loads(strings.text)[0])


def test_a_long_string_that_is_no_base64_is_cut_short() -> None:
    """It stays longer than any text that is taken, and wrong as base64."""
    strings = LongStrings(f'["{LONG}\U0001f600{LONG}"]'.encode())
    text = strings.take(json.loads(strings.text)[0])
    assert LONG_BYTES < len(text) < LONG_BYTES + 10
    assert not text.isascii()


def test_where_a_position_is() -> None:
    """Behind the strings that were taken out."""
    body = f'["{LONG}", "{LONG}", oops]'.encode()
    strings = LongStrings(body)
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(strings.text)
    assert strings.position(caught.value.pos) == body.index(b"oops")


def test_few_wide_characters_do_not_widen_a_large_text() -> None:
    """They are escaped, and mean the same; many of them are refused."""
    body = b'["' + b"a" * 2_000_000 + "\U0001f600\U00010000".encode() + b'"]'
    text = narrowed(body)
    assert text.isascii()
    assert json.loads(text) == json.loads(body)
    assert narrowed("é".encode() * 1_000_000) == "é".encode() * 1_000_000
    with pytest.raises(RequestTooLargeError):
        narrowed(body + "\U0001f600".encode() * 100_001)


def test_many_escaped_quotes_are_refused() -> None:
    """Each of them could end the string."""
    with pytest.raises(RequestTooLargeError):
        LongStrings(b'["' + b'\\"' * 1_000_001 + b'"]')
