"""Read files of labels: lines, a label map of the TF Object Detection API, YAML as Ultralytics writes it, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from serving.contract import Label
from serving.errors import ContractError
from serving.utf8_files import read_utf8

PLACEHOLDER: Final = "???"
"""Name that label maps of the TF Object Detection API give to ids without a class."""

_OF_CLASS_0: Final = {PLACEHOLDER, "background"}
_PLAIN: Final = ("", ".txt", ".names", ".labels", ".list")
_LABEL_MAP: Final = re.compile(r"\s*(?:#[^\n]*\s*)*item\s*:?\s*\{")
_YAML_NAMES: Final = re.compile(r"^names\s*:\s*(?:\[|\{|$)", re.MULTILINE)
_JSON_START: Final = re.compile(r"\s*[\[{]\s*[\"\]}{]")
_NUMBERED: Final = re.compile(r"(\d+)[\s:;,.=-]+\S")
_FORMS: Final = "a line per name (.txt), a label map (.pbtxt), YAML with `names:` (.yaml) or JSON (.json)"


def first_id(name: object, *, from_1: bool) -> int:
    """Return the id of the first name of a list without ids: 0, or 1 with `from_1`.

    "background" and `PLACEHOLDER` always have the id 0.
    """
    return int(from_1 and not (isinstance(name, str) and name.lower() in _OF_CLASS_0))


def read_label_file(path: Path, *, from_1: bool = False) -> tuple[Label, ...]:
    """Read the labels of a file, in the order of their ids.

    The file is one of these, which its suffix or its first characters tell:

    - text: a name per line. A tab and a category path may follow the name.
    - a label map of the TF Object Detection API: `item { id: 1 name: 'x' display_name: 'tea' }`. The display name is
      the name, where there is one.
    - YAML with `names`, a list or names by id, as in Ultralytics' `data.yaml` and `metadata.yaml`.
    - JSON: a list of names, names by id, ids by name, objects with `id` and `name`, or an object that has one of these
      as `names`, `categories` (COCO; the supercategory is the category path) or `id2label` (Hugging Face).

    Lines and lists of names have ids from 0, or from 1 with `from_1`; see `first_id`.

    Raises ContractError, in one line, if the file cannot be read or is none of these, if a name is blank, or if two
    labels have the same id or the same name. Only the name `PLACEHOLDER` may occur more than once.
    """
    text, suffix = read_utf8(path), path.suffix.lower()
    has_ids = True
    if suffix == ".pbtxt" or _LABEL_MAP.match(text):
        listed = _of_label_map(text, path)
    elif suffix in {".yaml", ".yml"} or (suffix in _PLAIN and _YAML_NAMES.search(text)):
        listed, has_ids = _of_document(_yaml(text, path), path)
    elif suffix == ".json" or (suffix in _PLAIN and _JSON_START.match(text)):
        listed, has_ids = _of_document(_json(text, path), path)
    elif suffix in _PLAIN:
        listed, has_ids = list(_of_lines(text, path)), False
    else:
        raise ContractError(f"{path} is no file of labels: write {_FORMS}.")
    if listed and not has_ids and first_id(listed[0].name, from_1=from_1):
        listed = [label.model_copy(update={"id": label.id + 1}) for label in listed]
    labels = tuple(sorted(listed, key=lambda label: label.id))
    refuse_twins(labels, str(path))
    return labels


def labels_of(names: Any, path: Path) -> tuple[Label, ...]:  # noqa: ANN401 - whatever a document holds
    """Return the labels of a document that was read from the file `path`: a list of names, or names by id.

    Raises ContractError as `read_label_file` does.
    """
    listed, _ = _of_document(names, path)
    labels = tuple(sorted(listed, key=lambda label: label.id))
    refuse_twins(labels, str(path))
    return labels


def refuse_twins(labels: tuple[Label, ...], where: str) -> None:
    """Raise ContractError if two labels have the same id or the same name.

    A name that occurs twice is usually a line that was copied; every label after it would then have the wrong id.
    """
    ids: dict[int, str] = {}
    seen: dict[str, int] = {}
    for label in labels:
        if label.id in ids:
            raise ContractError(
                f"{where}: {ids[label.id]!r} and {label.name!r} both have the id {label.id}: give each class its own."
            )
        if label.name != PLACEHOLDER and label.name in seen:
            raise ContractError(
                f"{where}: {label.name!r} stands for {seen[label.name]} and for {label.id}: "
                f"name each class once, and give ids without a class the name {PLACEHOLDER!r}."
            )
        ids[label.id] = label.name
        seen[label.name] = label.id


def _of_lines(text: str, path: Path) -> Iterator[Label]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n") if text.strip() else []
    numbers = [match and int(match[1]) for match in map(_NUMBERED.match, lines)]
    if len(lines) > 1 and numbers in ([*range(len(lines))], [*range(1, len(lines) + 1)]):
        raise ContractError(
            f"{path}: each line begins with a number, which would become part of the name: leave the numbers out, "
            f'or write JSON: {{"{numbers[0]}": "name", ...}}.'
        )
    for number, line in enumerate(lines):
        name, _, root = (part.strip() for part in line.partition("\t"))
        yield _label(number, name, root, f"{path}, line {number + 1}")


def _of_label_map(text: str, path: Path) -> list[Label]:
    """Read a StringIntLabelMap (object_detection/protos/string_int_label_map.proto), the format of `.pbtxt` files."""
    label_map = _label_map_class()()
    try:
        text_format.Parse(text, label_map, allow_unknown_field=True)  # fields that say nothing about names
    except text_format.ParseError as error:
        raise ContractError(f"{path} is not a label map of the TF Object Detection API: {_one_line(error)}.") from error
    for item in label_map.item:
        if not item.HasField("id"):
            raise ContractError(f"{path}: the item {item.name or item.display_name!r} has no id: number it.")
    return [_label(item.id, item.display_name or item.name, "", f"{path}, id {item.id}") for item in label_map.item]


@cache
def _label_map_class() -> Any:  # noqa: ANN401 - a message class that is built at run time has no type
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="labels.proto", package="shelfline", syntax="proto2")
    item = file.message_type.add(name="Item")
    for number, (name, kind) in enumerate(
        {"name": kinds.TYPE_STRING, "id": kinds.TYPE_INT32, "display_name": kinds.TYPE_STRING}.items(), 1
    ):
        item.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    file.message_type.add(name="LabelMap").field.add(
        name="item", number=1, type=kinds.TYPE_MESSAGE, type_name=".shelfline.Item", label=kinds.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shelfline.LabelMap"))


def _yaml(text: str, path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Parse YAML in which every scalar is a text: a class `no` must not become false."""
    try:
        value = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - this loader makes texts, lists and dictionaries only
    except (yaml.YAMLError, RecursionError) as error:
        raise ContractError(f"{path} is not YAML: {_one_line(error)}.") from error
    if not isinstance(value, dict) or "names" not in value:
        raise ContractError(f"{path} has no `names`: write them as in Ultralytics' data.yaml, a list or names by id.")
    return value


def _json(text: str, path: Path) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{path} is not JSON: {_one_line(error)}.") from error


def _of_document(value: Any, path: Path) -> tuple[list[Label], bool]:  # noqa: ANN401 - whatever YAML and JSON hold
    """Return the labels of a document, and whether it has their ids."""
    for key in ("names", "categories", "id2label"):
        if isinstance(value, dict) and isinstance(value.get(key), list | dict):
            value = value[key]
            break
    if isinstance(value, dict) and all(isinstance(name, str) for name in value.values()) and all(map(_is_id, value)):
        return [_label(int(key), name, "", f"{path}, id {key}") for key, name in value.items()], True
    if isinstance(value, dict) and all(map(_is_id, value.values())):
        return [_label(int(number), name, "", f"{path}, id {number}") for name, number in value.items()], True
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [_label(number, name, "", f"{path}, name {number + 1}") for number, name in enumerate(value)], False
    if isinstance(value, list) and all(isinstance(entry, dict) and _is_id(entry.get("id")) for entry in value):
        return [_of_object(entry, path) for entry in value], True
    raise ContractError(f"{path} holds no labels: write {_FORMS}; JSON is a list of names, or names by id.")


def _of_object(entry: dict[str, Any], path: Path) -> Label:
    name, root = entry.get("name"), entry.get("root", entry.get("supercategory", ""))
    where = f"{path}, id {entry['id']}"
    return _label(int(entry["id"]), name if isinstance(name, str) else "", root if isinstance(root, str) else "", where)


def _is_id(value: object) -> bool:
    """Return whether a value is a whole number, not below 0, or the digits of one."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _label(number: int, name: str, root: str, where: str) -> Label:
    if number < 0:
        raise ContractError(f"{where}: the id is below 0: number the classes from 0 or 1.")
    if not name.strip():
        raise ContractError(f"{where}: the name is blank: give each class a name, or {PLACEHOLDER!r} for none.")
    return Label(id=number, name=name.strip(), root=root.strip())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]
