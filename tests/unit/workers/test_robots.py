"""The robots of a setting: JSON or a TOML file, and what is wrong with either in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.errors import SettingsError
from workers.robots import Robot
from workers.settings import Settings, load_settings
from workers.telemetry.masking import mask_keys

ACCESS = "a-token-that-nobody-guesses"


def load(monkeypatch: pytest.MonkeyPatch, text: str, **env: str) -> Settings:
    monkeypatch.setenv("SHELFLINE_ROBOTS", text)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_without_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """One robot, at the course's path, with five seconds."""
    monkeypatch.delenv("SHELFLINE_ROBOTS", raising=False)
    (robot,) = load_settings().robots

    assert (robot.path, robot.token, robot.deadline_seconds) == ("/api/v3/prediction/commodity", None, 5.0)
    assert robot.options("default").model == "default"


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list, or one robot alone; none at all is possible too."""
    two = [
        {"token": ACCESS},
        {"path": "/api/v3/drinks", "model": "drinks", "threshold": 0.7, "tiles": "auto", "overlap": 0.3},
    ]
    settings = load(monkeypatch, json.dumps(two), SHELFLINE_MORE_MODELS="drinks")

    assert [robot.path for robot in settings.robots] == ["/api/v3/prediction/commodity", "/api/v3/drinks"]
    assert settings.robots[0].token is not None
    assert settings.robots[0].token.get_secret_value() == ACCESS
    assert ACCESS not in repr(settings) + str(settings)
    options = settings.robots[1].options("default")
    assert (options.tiles, options.overlap) == ("auto", 0.3)
    assert settings.robots[0].options("default").overlap == 0.2
    assert len(load(monkeypatch, '{"deadline_seconds": 2}').robots) == 1
    assert load(monkeypatch, "[]").robots == ()


def test_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TOML, a table each."""
    path = tmp_path / "robots.toml"
    path.write_text(
        f'[[robots]]\ntoken = "{ACCESS}"\n[[robots]]\npath = "/drinks"\nrate = "5/second"\nowner = "shop"\n'
    )

    assert [(robot.path, robot.owner) for robot in load(monkeypatch, str(path)).robots] == [
        ("/api/v3/prediction/commodity", None),
        ("/drinks", "shop"),
    ]


@pytest.mark.parametrize(
    ("robot", "said"),
    [
        ({"path": "prediction"}, "SHELFLINE_ROBOTS.0.path"),
        ({"path": "/api/<model>"}, "SHELFLINE_ROBOTS.0.path"),
        ({"path": "/v1/jobs"}, "SHELFLINE_ROBOTS.0.path is wrong: this address is the API's own"),
        ({"path": "/api/v1/prediction/commodity"}, "SHELFLINE_ROBOTS.0.path"),
        ({"path": "/"}, "SHELFLINE_ROBOTS.0.path"),
        ({"path": "/api/"}, "SHELFLINE_ROBOTS.0.path"),
        ({"token": "short"}, "SHELFLINE_ROBOTS.0.token is wrong: write 16 or more"),
        ({"token": 'with spaces and "quotes"'}, "SHELFLINE_ROBOTS.0.token"),
        ({"token": ""}, "SHELFLINE_ROBOTS.0.token"),
        ({"model": "nothing"}, "SHELFLINE_ROBOTS is wrong: robot 0 has the model 'nothing'"),
        ({"threshold": 1.5}, "SHELFLINE_ROBOTS.0.threshold"),
        ({"threshold": float("nan")}, "SHELFLINE_ROBOTS.0.threshold"),
        ({"tiles": "many"}, "SHELFLINE_ROBOTS.0.tiles is wrong: 'many' is not a grid"),
        ({"tiles": "9x9"}, "SHELFLINE_ROBOTS.0.tiles"),
        ({"overlap": 0.9}, "SHELFLINE_ROBOTS.0.overlap"),
        ({"deadline_seconds": 0}, "SHELFLINE_ROBOTS.0.deadline_seconds"),
        ({"deadline_seconds": 61}, "SHELFLINE_ROBOTS.0.deadline_seconds"),
        ({"rate": "fast"}, "SHELFLINE_ROBOTS.0.rate is wrong: 'fast' is not a rate"),
        ({"owner": "a:b"}, "SHELFLINE_ROBOTS.0.owner"),
        ({"max_detections": 0}, "SHELFLINE_ROBOTS.0.max_detections"),
        ({"tokens": ACCESS}, "SHELFLINE_ROBOTS.0.tokens"),
    ],
)
def test_a_robot_that_cannot_be(monkeypatch: pytest.MonkeyPatch, robot: dict[str, Any], said: str) -> None:
    """One line, which names the field, and no token."""
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, json.dumps([robot | {"token": ACCESS} if "token" not in robot else robot]))

    assert len(str(caught.value).splitlines()) == 1
    assert said in str(caught.value)
    assert ACCESS not in str(caught.value)
    assert "quotes" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{{"token": "{ACCESS}"', "not JSON (at line 1, column"),
        (f'["{ACCESS}"]', "SHELFLINE_ROBOTS.0"),
        (f"{ACCESS}.toml", "cannot be read (No such file or directory)"),
        ("x" * 10_000, "cannot be read (File name too long)"),
        ("[{}, {}]", "two robots have the path /api/v3/prediction/commodity"),
    ],
)
def test_a_setting_that_cannot_be(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """Likewise, of the setting as a whole."""
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, text)

    assert len(str(caught.value).splitlines()) == 1
    assert said in str(caught.value)
    assert ACCESS not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"token = {ACCESS}", "not TOML (at line 1"),
        ("[robot]", r"must have a [[robots]]"),
        (b"\xff", "not TOML"),
        ("robots = 1", "SHELFLINE_ROBOTS is wrong"),
    ],
)
def test_a_file_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | bytes, said: str) -> None:
    """Likewise."""
    path = tmp_path / "robots.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, str(path))

    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert ACCESS not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f"POST /p?access_token={ACCESS} HTTP/1.1",
        f'"/p?a=1&access_token={ACCESS}&b=2" 200',
        f"?ACCESS_TOKEN={ACCESS}",
        f"/p?%61ccess%5Ftoken%3d{ACCESS}",
        "?access_token=" + "".join(f"%{ord(character):02X}" for character in ACCESS),
        f'{{"path": "/p?access_token={ACCESS}", "b": 1}}',
    ],
)
def test_tokens_are_masked(line: str) -> None:
    """However the address was written, what is around it stays."""
    masked = mask_keys(line)

    assert ACCESS not in masked
    assert "%6E" not in masked
    assert "***" in masked
    if line.startswith("{"):
        assert json.loads(masked)["b"] == 1
    assert mask_keys(masked) == masked


def test_a_robot_is_the_same_whatever_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not said has its default."""
    assert load(monkeypatch, "[{}]").robots == (Robot(),)
