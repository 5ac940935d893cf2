from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.commands.detect.output import Output
from api.commands.detect.pictures import picture_name
from api.commands.errors import OutputError, UsageError
from workers.results.formats.registry import FormatName
from workers.results.labels import Labels

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
    kept = output.folder / "kept"
    kept.write_text("".join(json.dumps(result) + "\n" for result in results))
    output.publish(kept)

    def content_of(result: Mapping[str, Any]) -> bytes:
        return (images / str(result["name"])).read_bytes()

    output.pictures.clear()
    return output.pictures.draw(output.read(), content_of, PIXELS)


def _pictures(output: Output) -> set[str]:
    return {str(path.relative_to(output.pictures.folder)) for path in output.pictures.folder.rglob("*.jpg")}


def test_results_are_published(tmp_path: Path) -> None:
    """What was there is replaced; what is published as growing grows, the other does not matter to it any more."""
    output = Output(tmp_path)
    output.results.write_text("of a run before")
    (tmp_path / "one").write_text('{"a": 1}\n')
    for growing in (False, True, True):
        output.publish(tmp_path / "one", growing=growing)
        assert list(output.read()) == [{"a": 1}]
    with (tmp_path / "one").open("a") as file:
        file.write('{"a": "\u2028"}\n')
    (tmp_path / "one").unlink()

    assert list(output.read(1)) == [{"a": "\u2028"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotated", "results.jsonl"]


@pytest.mark.parametrize("growing", [False, True])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, growing: bool) -> None:  # noqa: FBT001
    """The results are copied, or linked otherwise where they grow."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    output = Output(tmp_path / "out")
    kept = output.folder / "kept"
    kept.write_text('{"a": 1}\n')

    output.publish(kept, growing=growing)
    kept.write_text('{"a": 1}\n{"a": 2}\n')

    assert [line["a"] for line in output.read()] == ([1, 2] if growing else [1])


def test_other_formats(tmp_path: Path) -> None:
    """They stand beside the results, whole, and nothing else does."""
    output = Output(tmp_path)
    kept = tmp_path / "kept"
    kept.write_text(json.dumps({"index": 0, "name": "a.jpg", "state": "failed", "error": {"code": "x"}}) + "\n")
    output.publish(kept)
    kept.unlink()

    written = {output.write_as(form, "r", Labels()).name for form in FormatName}

    assert written == {path.name for path in tmp_path.iterdir()} - {"annotated"}
    assert json.loads((tmp_path / "results.coco.json").read_text())["failures"][0]["file_name"] == "a.jpg"
    assert "a.jpg" in (tmp_path / "results.csv").read_text()
    (tmp_path / "results.csv").unlink()
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(OutputError, match=r"results\.csv.* cannot be written \(Is a directory\)"):
        output.write_as(FormatName.CSV, "r", Labels())
    assert not list(tmp_path.glob("*.part"))


def test_pictures_have_the_names_of_the_images(tmp_path: Path, images: Path) -> None:
    """Nested as the images are, and two that would be the same are told apart."""
    output = Output(tmp_path / "out")

    assert _run(output, images, [_result("a.jpg"), _result("a.png"), _result("sub/b.png")]) == []

    assert _pictures(output) == {"a.jpg", "a.png.jpg", "sub/b.jpg"}
    taken: set[str] = set()
    assert [picture_name(name, taken) for name in ("A.jpg", "a.jpg", "a.jpg", "x/", "")] == [
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
    (output.pictures.folder / "mine.jpg").touch()
    (output.pictures.folder / "other").mkdir()

    _run(output, images, [_result("a.png"), _result("a.jpg", state="failed")])

    assert _pictures(output) == {"a.jpg", "mine.jpg"}
    assert {path.name for path in output.pictures.folder.iterdir()} == {
        "a.jpg",
        "mine.jpg",
        "other",
        ".shelfline.jsonl",
    }


@pytest.mark.parametrize("record", ["{", "[3, null]\n3\n\xff", '"../../precious.jpg"\n"/precious.jpg"\n""\n"."'])
def test_a_record_that_is_damaged(tmp_path: Path, images: Path, record: str) -> None:
    """What is deleted lies in our folder, whatever the record of the last run says."""
    precious = tmp_path / "precious.jpg"
    precious.touch()
    output = Output(tmp_path / "out")
    (output.pictures.folder / ".shelfline.jsonl").write_text(record)

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

    lines = _run(output, images, [_result("gone.jpg"), _result("bad.png"), _result("a.jpg")])

    assert [line.split(":")[0] for line in lines] == ["gone.jpg", "bad.png"]
    assert _pictures(output) == {"a.jpg"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """It is said before anything starts."""
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        Output(tmp_path / "out")


@pytest.mark.parametrize("name", ["results.jsonl", "annotated/.shelfline.jsonl"])
def test_a_file_that_cannot_be_replaced(tmp_path: Path, name: str) -> None:
    """It is said before the work, not after it."""
    (tmp_path / name).mkdir(parents=True)

    with pytest.raises(UsageError, match="cannot be written"):
        Output(tmp_path)


def test_at_most_so_many_pictures(tmp_path: Path, images: Path) -> None:
    """The first ones; the others are counted."""
    output = Output(tmp_path / "out", 2)

    _run(output, images, [_result("gone.png", state="failed"), *map(_result, ("a.jpg", "a.png", "sub/b.png"))])

    assert _pictures(output) == {"a.jpg", "a.png.jpg"}
    assert output.pictures.left_out == 1


def test_a_picture_where_a_folder_is(tmp_path: Path, images: Path) -> None:
    """It alone is not drawn."""
    output = Output(tmp_path / "out")
    (output.pictures.folder / "a.jpg").mkdir()

    (line,) = _run(output, images, [_result("a.jpg"), _result("sub/b.png")])

    assert line.startswith("a.jpg: not drawn")
    assert _pictures(output) == {"a.jpg", "sub/b.jpg"}
