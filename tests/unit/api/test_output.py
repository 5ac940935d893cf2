from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.errors import UsageError
from api.output import Output, picture_names

PIXELS = 1_000_000


def _result(name: str, **more: object) -> dict[str, Any]:
    return {"name": name, "state": "succeeded", "width": 64, "height": 48, "detections": [], **more}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "sub/b.png"):
        Image.new("RGB", (64, 48), "gray").save(folder / name)
    return folder


def _run(output: Output, images: Path, results: list[dict[str, Any]]) -> list[str]:
    list(output.write_results(map(json.dumps, results)))

    def image_of(result: Mapping[str, Any]) -> Path:
        return images / str(result["name"])

    return output.draw_pictures(image_of, PIXELS, lambda: None)


def _pictures(output: Output) -> set[str]:
    return {str(path.relative_to(output.annotated)) for path in output.annotated.rglob("*.jpg")}


def test_results_appear_whole(tmp_path: Path) -> None:
    """A run that is broken off leaves the results of the one before."""
    output = Output(tmp_path)
    assert list(output.write_results(['{"a": 1}'])) == [{"a": 1}]
    broken = output.write_results(['{"a": 2}', '{"a": 3}'])
    next(broken)
    broken.close()  # type: ignore[attr-defined]

    assert output.results.read_text() == '{"a": 1}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotated", "results.jsonl"]


def test_pictures_have_the_names_of_the_images(tmp_path: Path, images: Path) -> None:
    """Nested as the images are, and two that would be the same are told apart."""
    output = Output(tmp_path / "out")

    assert _run(output, images, [_result("a.jpg"), _result("a.png"), _result("sub/b.png")]) == []

    assert _pictures(output) == {"a.jpg", "a.png.jpg", "sub/b.jpg"}
    assert list(picture_names(["A.jpg", "a.jpg", "a.jpg", "x/", ""])) == [
        "A.jpg",
        "a.jpg.jpg",
        "a_.jpg",
        "x.jpg",
        ".jpg",
    ]


def test_pictures_of_the_last_run_go_and_others_stay(tmp_path: Path, images: Path) -> None:
    """No picture is left that this run did not draw, except what is not ours."""
    output = Output(tmp_path / "out")
    _run(output, images, [_result("a.jpg"), _result("sub/b.png")])
    (output.annotated / "mine.jpg").touch()
    (output.annotated / "other").mkdir()

    _run(output, images, [_result("a.png"), _result("a.jpg", state="failed")])

    assert _pictures(output) == {"a.jpg", "mine.jpg"}
    assert {path.name for path in output.annotated.iterdir()} == {"a.jpg", "mine.jpg", "other", ".shelfline.json"}


@pytest.mark.parametrize("record", ["{", "[3, null]", '["../../precious.jpg", "/precious.jpg", "", "."]'])
def test_a_record_that_is_damaged(tmp_path: Path, images: Path, record: str) -> None:
    """What is deleted lies in our folder, whatever the record of the last run says."""
    precious = tmp_path / "precious.jpg"
    precious.touch()
    output = Output(tmp_path / "out")
    (output.annotated / ".shelfline.json").write_text(record)

    _run(output, images, [_result("a.jpg")])

    assert precious.exists()
    assert _pictures(output) == {"a.jpg"}


def test_a_name_that_leads_out(tmp_path: Path, images: Path) -> None:
    """A server's names never make the command write outside its folder."""
    output = Output(tmp_path / "out")

    assert len(_run(output, images, [_result("../../a.jpg"), _result("/a.jpg"), _result("a.jpg")])) == 2
    assert _pictures(output) == {"a.jpg"}


def test_an_image_that_is_gone(tmp_path: Path, images: Path) -> None:
    """A picture that cannot be drawn is told, and the others are drawn."""
    output = Output(tmp_path / "out")
    (images / "bad.png").write_bytes(b"no image")

    told = _run(output, images, [_result("gone.jpg"), _result("bad.png"), _result("a.jpg")])

    assert [line.split(":")[0] for line in told] == ["gone.jpg", "bad.png"]
    assert _pictures(output) == {"a.jpg"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """It is said before anything starts."""
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        Output(tmp_path / "out")


@pytest.mark.parametrize("name", ["results.jsonl", "annotated/.shelfline.json"])
def test_a_file_that_cannot_be_replaced(tmp_path: Path, name: str) -> None:
    """It is said before the work, not after it."""
    (tmp_path / name).mkdir(parents=True)

    with pytest.raises(UsageError, match="cannot be written"):
        Output(tmp_path)
