from __future__ import annotations

from pathlib import Path

import pytest

from serving.contract import Label
from serving.conventions import SsdRaw
from serving.description import read_description
from serving.errors import ContractError
from tests.support.real_ssd import contract_toml

TEXT = contract_toml("commodity", labels="labels.txt", score_threshold=0.01, nms_iou=0.45, max_detections=200)


def write(folder: Path, text: str) -> Path:
    """The file and the labels that it names."""
    (folder / "labels.txt").write_text("Background\ntea\nrice\n", "utf-8")
    (folder / "data.yaml").write_text("names: [tea, rice]", "utf-8")
    (folder / "by_id.yaml").write_text("names: {0: tea, 1: rice}", "utf-8")
    (folder / "gbk.txt").write_text("背景\n茶叶\n", "gbk")
    (folder / "contract.toml").write_text(text, "utf-8")
    return folder / "contract.toml"


def test_the_course_s_model_is_described(tmp_path: Path) -> None:
    """Its background is no label; the labels' file is found beside the TOML file."""
    described = read_description(write(tmp_path, TEXT))

    assert (Label(id=1, name="tea"), Label(id=2, name="rice")) == described.contract.labels
    assert SsdRaw(convention="ssd_raw", tensor="concat_3:0") == described.output
    assert (described.input.channels, described.signature) == ("bgr", "serving_default")


def test_a_byte_order_mark_is_no_part_of_the_first_label(tmp_path: Path) -> None:
    """Some editors put one at the start of a file."""
    path = write(tmp_path, TEXT.replace("ssd_raw", "yolo_raw"))
    (tmp_path / "labels.txt").write_text("\ufefftea\nrice\n", "utf-8")

    assert [label.name for label in read_description(path).contract.labels] == ["tea", "rice"]


def test_labels_may_stand_in_the_file_itself(tmp_path: Path) -> None:
    """As names from 0, or as tables with ids of their own."""
    other = TEXT.replace("ssd_raw", "yolo_raw")
    names = read_description(write(tmp_path, other.replace('"labels.txt"', '["tea", "rice"]')))
    tables = read_description(
        write(tmp_path, other.replace('"labels.txt"', '[{ id = 7, name = "tea", root = "a/b" }]'))
    )

    assert [(label.id, label.name) for label in names.contract.labels] == [(0, "tea"), (1, "rice")]
    assert (Label(id=7, name="tea", root="a/b"),) == tables.contract.labels


def test_numbers_that_no_class_has_share_a_name(tmp_path: Path) -> None:
    """COCO's label map has ten of them."""
    described = read_description(write(tmp_path, TEXT.replace('"labels.txt"', '["???", "tea", "???", "???"]')))

    assert [(label.id, label.name) for label in described.contract.labels] == [(1, "tea"), (2, "???"), (3, "???")]


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("300", "0", "input_height: "),
        ("ssd_raw", "ssd", "output: "),
        ('tensor = "concat_3:0"', "", "output.ssd_raw.tensor: Field required"),
        ("103.939, ", "", "input.mean"),
        ("[output]", "scale = 255\n[output]", "input.scale: it must be a list in square brackets"),
        ("labels.txt", "none.txt", "none.txt: No such file"),
        ('name = "commodity"', "name = ", "not a TOML file"),
        ("[input]", "surprise = 1\n[input]", "surprise: "),
        ('"labels.txt"', '["background", ""]', "labels.0.name: "),
        ('"labels.txt"', '"gbk.txt"', "gbk.txt is GBK text: save it as UTF-8"),
        ('"labels.txt"', '["background"]', "labels: "),
        ('"labels.txt"', '["background", "tea", "rice", "tea"]', "labels: 'tea' stands for 1 and for 3: "),
        ('channels = "bgr"', 'dtype = "uint8"', "input: "),
        ('"ssd_raw"', '"yolo_raw"\nlabel_offset = 1', "label_offset 1 is above the lowest label's id, 0"),
        ('"ssd_raw"', '"yolo_v8"\nlabel_offset = 1', "label_offset 1 is above the lowest label's id, 0"),
        ('"ssd_raw"', '"yolo_v8"\nboxes_axis = 3', "output.yolo_v8.boxes_axis: "),
        ("[input]", "[thresholds]\ncoffee = 0.4\n[input]", "thresholds: no label is called 'coffee'"),
        ("[input]", '[input]\nlayout = "chwn"', "input.layout: "),
        ("[input]", '[input]\nconstants = [{ tensor = "images", value = 1 }]', "input: two inputs have the same name"),
        ("[input]", '[input]\nconstants = [{ tensor = "a", value = [[1], [1, 2]] }]', "the value of a is no array of"),
        ("[input]", '[input]\nconstants = [{ tensor = "a", value = "1" }]', "the value of a is no array of float32"),
        ("[input]", '[input]\nconstants = [{ tensor = "a", dtype = "uint8", value = 256 }]', "no array of uint8"),
        ("[input]", '[input]\nconstants = [{ tensor = "a", dtype = "int32", value = 1.5 }]', "no array of int32"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """In one line, with the file."""
    with pytest.raises(ContractError) as refused:
        read_description(write(tmp_path, TEXT.replace(before, after)))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_the_contract(tmp_path: Path) -> None:
    """Notepad writes one."""
    assert read_description(write(tmp_path, "\ufeff" + TEXT)).contract.name == "commodity"


@pytest.mark.parametrize(
    ("encoding", "complaint"),
    [
        (
            "gbk",
            r"contract.toml is GBK text: save it as UTF-8, or convert it with `iconv -f GBK -t UTF-8 FILE > NEW`\.",
        ),
        ("utf-16", r"contract.toml is UTF-16 text: "),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, complaint: str) -> None:
    """Of the contract itself: Chinese editors write GBK."""
    path = write(tmp_path, TEXT)
    path.write_text(TEXT.replace('"labels.txt"', '["背景", "茶叶", "大米"]'), encoding)

    with pytest.raises(ContractError, match=complaint):
        read_description(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As any other."""
    with pytest.raises(ContractError, match=r"Cannot read .*none\.toml"):
        read_description(tmp_path / "none.toml")


def object_detection(folder: Path, labels: str, output: str = "") -> list[tuple[int, str]]:
    """The labels of a model of the TF Object Detection API."""
    text = TEXT.replace('"labels.txt"', labels).replace('"ssd_raw"', f'"tf_object_detection"\n{output}')
    described = read_description(write(folder, text.replace('tensor = "concat_3:0"', "")))
    return [(label.id, label.name) for label in described.contract.labels]


@pytest.mark.parametrize(
    ("labels", "output", "expected"),
    [
        ('["tea", "rice"]', "", [(1, "tea"), (2, "rice")]),
        ('["???", "tea"]', "", [(0, "???"), (1, "tea")]),
        ('"labels.txt"', "", [(0, "Background"), (1, "tea"), (2, "rice")]),
        ('["tea", "rice"]', "label_offset = -1", [(0, "tea"), (1, "rice")]),
        ('["tea", "rice"]', "label_offset = 0", [(0, "tea"), (1, "rice")]),
        ('[{ id = 7, name = "tea" }]', "", [(7, "tea")]),
        ('[{ id = 0, name = "tea" }]', "label_offset = -1", [(0, "tea")]),
        ('[{ id = 0, name = "background" }, { id = 1, name = "tea" }]', "", [(0, "background"), (1, "tea")]),
        ('"data.yaml"', "", [(1, "tea"), (2, "rice")]),
    ],
)
def test_classes_of_object_detection_count_from_1(
    tmp_path: Path, labels: str, output: str, expected: list[tuple[int, str]]
) -> None:
    """So the first name is the model's class 1, unless the contract says how classes and ids belong together."""
    assert object_detection(tmp_path, labels, output) == expected


@pytest.mark.parametrize("labels", ['[{ id = 0, name = "tea" }, { id = 1, name = "rice" }]', '"by_id.yaml"'])
def test_object_detection_has_no_class_0(tmp_path: Path, labels: str) -> None:
    """Such labels are another model's: each detection would get its neighbour's name."""
    with pytest.raises(
        ContractError, match=r"'tea' has the id 0, .* begin at 1: number the labels from 1, or set label_offset"
    ):
        object_detection(tmp_path, labels)
