from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.contract import Label
from serving.errors import ContractError
from serving.label_files import read_label_file

LABEL_MAP = """
# The classes of the shelf.
item {
  id: 2
  name: '/m/07clx'
  display_name: 'rice'
  keypoints { id: 1 label: "corner" }
}
item { name: "tea" id: 1 }
"""
COCO = {"categories": [{"id": 1, "name": "tea", "supercategory": "drinks"}, {"id": 2, "name": "rice"}], "images": []}

FROM_0 = (Label(id=0, name="tea"), Label(id=1, name="rice"))
FROM_1 = (Label(id=1, name="tea"), Label(id=2, name="rice"))


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("labels.txt", "tea\nrice\n", FROM_0),
        ("labels.txt", "\ufefftea\r\nrice\r\n\r\n", FROM_0),
        ("coco.names", "tea\nrice", FROM_0),
        ("labels", "tea\tdrinks/hot\nrice", (Label(id=0, name="tea", root="drinks/hot"), FROM_0[1])),
        ("labels.txt", "7 up\ntea: green", (Label(id=0, name="7 up"), Label(id=1, name="tea: green"))),
        ("labels.txt", "???\ntea\n???", (Label(id=0, name="???"), FROM_1[0], Label(id=2, name="???"))),
        ("label_map.pbtxt", LABEL_MAP, FROM_1),
        ("labels.txt", LABEL_MAP, FROM_1),
        ("data.yaml", "train: ../images\nnc: 2\nnames: [tea, rice]\n", FROM_0),
        ("data.yml", "names:\n  0: tea\n  1: rice\n", FROM_0),
        ("labels.txt", "names:\n- tea\n- rice\n", FROM_0),
        ("data.yaml", "names: [no, 7]", (Label(id=0, name="no"), Label(id=1, name="7"))),
        ("labels.json", '["tea", "rice"]', FROM_0),
        ("labels.txt", '["tea", "rice"]', FROM_0),
        ("labels.json", '{"0": "tea", "1": "rice"}', FROM_0),
        ("labels.json", '{"rice": 2, "tea": 1}', FROM_1),
        ("labels.json", '[{"id": 1, "name": "tea"}, {"id": 2, "name": "rice"}]', FROM_1),
        ("config.json", '{"model_type": "detr", "id2label": {"1": "tea", "2": "rice"}}', FROM_1),
        ("instances.json", json.dumps(COCO), (Label(id=1, name="tea", root="drinks"), FROM_1[1])),
    ],
)
def test_each_form_is_read_as_what_it_is(tmp_path: Path, name: str, text: str, labels: tuple[Label, ...]) -> None:
    """Told by the suffix, or by how the file begins."""
    (tmp_path / name).write_text(text, "utf-8", newline="")

    assert labels == read_label_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("labels.txt", "tea\nrice\n", FROM_1),
        ("labels.txt", "???\ntea\nrice", (Label(id=0, name="???"), *FROM_1)),
        ("labels.txt", "Background\ntea\nrice", (Label(id=0, name="Background"), *FROM_1)),
        ("data.yaml", "names: [tea, rice]", FROM_1),
        ("labels.json", '["tea", "rice"]', FROM_1),
        ("label_map.pbtxt", LABEL_MAP, FROM_1),
        ("data.yaml", "names: {0: tea, 1: rice}", FROM_0),
        ("labels.json", '{"0": "tea", "1": "rice"}', FROM_0),
        ("labels.json", '{"tea": 1, "rice": 2}', FROM_1),
        ("instances.json", json.dumps(COCO), (Label(id=1, name="tea", root="drinks"), FROM_1[1])),
    ],
)
def test_names_without_ids_may_begin_with_1(tmp_path: Path, name: str, text: str, labels: tuple[Label, ...]) -> None:
    """A file that has ids keeps them."""
    (tmp_path / name).write_text(text, "utf-8")

    assert labels == read_label_file(tmp_path / name, from_1=True)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("labels.txt", b"tea\n\nrice", "labels.txt, line 2: the name is blank"),
        ("labels.txt", b"tea\nrice\ntea", "'tea' stands for 0 and for 2"),
        ("labels.txt", b"0 tea\n1 rice", 'each line begins with a number, .*: {"0": "name", ...}'),
        ("labels.txt", b"1: tea\n2: rice", "each line begins with a number"),
        ("labels.txt", "茶叶\n大米\n".encode("gbk"), "labels.txt is GBK text: save it as UTF-8"),
        ("labels.txt", "tea\n".encode("utf-16"), "labels.txt is UTF-16 text: save it as UTF-8"),
        ("labels.txt", "tea\ncafé\n".encode("latin-1"), "labels.txt, line 2: the byte 0xe9 is not UTF-8"),
        ("labels.csv", b"id,name\n1,tea", r"is no file of labels: write a line per name \(.txt\)"),
        ("labels.xml", b"<labels/>", "is no file of labels"),
        ("map.pbtxt", b"tea\nrice", "is not a label map of the TF Object Detection API"),
        ("map.pbtxt", b"item { id: 1 name: 'tea'", "is not a label map"),
        ("map.pbtxt", b"item { name: 'tea' }", "the item 'tea' has no id"),
        ("map.pbtxt", b"item { id: 1 }", "id 1: the name is blank"),
        ("map.pbtxt", b"item { id: -1 name: 'tea' }", "id -1: the id is below 0"),
        ("map.pbtxt", b"item { id: 1 name: 'tea' } item { id: 1 name: 'rice' }", "'tea' and 'rice' both have the id 1"),
        ("data.yaml", b"names: [tea", "is not YAML: .*line 1"),
        ("data.yaml", b"nc: 2", "has no `names`"),
        ("data.yaml", b"- tea", "has no `names`"),
        ("data.yaml", b"names: {tea: [1]}", "holds no labels"),
        ("labels.json", b'["tea",', "is not JSON: .*line 1"),
        ("labels.json", b"7", "holds no labels"),
        ("labels.json", b'{"0": "tea", "x": "rice"}', "holds no labels"),
        ("labels.json", b'["tea", 7]', "holds no labels"),
        ("labels.json", b'[{"id": 1}]', "id 1: the name is blank"),
        ("labels.json", b"[" * 100_000, "is not JSON"),
        ("data.yaml", b"names: " + b"[" * 100_000, "is not YAML"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    """In one line, which names the file and the place in it."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ContractError, match=complaint) as refused:
        read_label_file(tmp_path / name)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As any other."""
    with pytest.raises(ContractError, match=r"Cannot read .*none\.txt: No such file"):
        read_label_file(tmp_path / "none.txt")
