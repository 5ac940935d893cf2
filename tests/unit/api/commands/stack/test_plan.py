from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.commands.errors import StackError
from api.commands.stack.plan import PROJECT, free_ports, plan_stack, read_procfile
from workers.settings import Settings


def test_a_machine_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything runs here, on free ports, with absolute paths."""
    monkeypatch.chdir(tmp_path)

    plan = plan_stack(
        Settings(), {"HOME": "/h"}, data=tmp_path / "var", models=Path("m"), model="sku", port=0, roots=[tmp_path]
    )

    assert set(plan.commands) == {"redis", "model", "web", "worker", "webhooks"}
    env = plan.env
    assert plan.url == f"http://127.0.0.1:{env['PORT']}"
    assert env["REDIS_URL"] == f"redis://127.0.0.1:{env['REDIS_PORT']}/0"
    assert env["SHELFLINE_MODEL_SERVER"] == f"127.0.0.1:{env['MODEL_PORT']}"
    assert (env["SHELFLINE_MODELS"], env["BLOB_URL"]) == (str(tmp_path / "m"), str(tmp_path / "var" / "blobs"))
    assert (env["SHELFLINE_MODEL"], env["MODEL_CONFIG"]) == ("sku", str(tmp_path / "var" / "models.config"))
    assert (env["HOME"], env["SHELFLINE_FOLDER_ROOTS"]) == ("/h", str(tmp_path))
    assert len({env["PORT"], env["REDIS_PORT"], env["MODEL_PORT"]}) == 3


@pytest.mark.parametrize(
    ("host", "url_host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("192.0.2.1", "192.0.2.1")],  # noqa: S104  what a stack may listen on
)
def test_where_a_stack_is_asked(tmp_path: Path, host: str, url_host: str) -> None:
    """An address that means every one of the machine is no address to call."""
    plan = plan_stack(Settings(host=host), {}, data=tmp_path, models=tmp_path, model="default", port=5001, roots=[])

    assert plan.url == f"http://{url_host}:5001"


def test_what_the_environment_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis and a model server of the user's are not started again."""
    given = {"REDIS_URL": "redis://r/0", "SHELFLINE_MODEL_SERVER": "m:8500", "BLOB_URL": "s3://b"}
    given["SHELFLINE_FOLDER_ROOTS"] = f"/x{os.pathsep}/y"
    given["SHELFLINE_MODELS"] = "/models"
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    plan = plan_stack(Settings(), given, data=tmp_path, models=tmp_path, model="default", port=5001, roots=[Path("/z")])

    assert (set(plan.commands), plan.own_redis, plan.own_model) == ({"web", "worker", "webhooks"}, False, False)
    assert {name: plan.env[name] for name in list(given)[:3]} == dict(list(given.items())[:3])
    assert "SHELFLINE_MODELS" not in plan.env, "the other server may have other models"
    assert (plan.url, plan.env["SHELFLINE_FOLDER_ROOTS"]) == (
        "http://127.0.0.1:5001",
        os.pathsep.join(("/x", "/y", "/z")),
    )


def test_a_relative_blob_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where the user is, not where the stack runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOB_URL", "b")

    assert plan_stack(Settings(), {}, data=tmp_path, models=tmp_path, model="default", port=0, roots=[]).env[
        "BLOB_URL"
    ] == str(tmp_path / "b")


def test_free_ports_are_different() -> None:
    """No two processes are given the same port."""
    assert len(set(free_ports(50))) == 50


def test_the_procfiles(tmp_path: Path) -> None:
    """Each command replaces its shell, so that a signal reaches it and not a shell that dies of it."""
    both = read_procfile(PROJECT / "Procfile") | read_procfile(PROJECT / "Procfile.local")

    assert set(both) == {"redis", "model", "web", "worker", "webhooks"}
    assert [name for name, command in both.items() if not command.startswith("exec ")] == []
    with pytest.raises(StackError, match="checkout"):
        read_procfile(tmp_path / "Procfile")


def test_a_root_that_would_read_as_two_is_left_out(tmp_path: Path) -> None:
    """The images of such a folder are uploaded instead."""
    odd = tmp_path / f"a{os.pathsep}b"

    plan = plan_stack(Settings(), {}, data=tmp_path, models=tmp_path, model="default", port=0, roots=[odd, tmp_path])

    assert plan.env["SHELFLINE_FOLDER_ROOTS"] == str(tmp_path)
