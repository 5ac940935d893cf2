"""Write a draft of a contract, with a comment for each key that was told or could not be told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from exporter.inspecting.facts import Finding
from serving.contract import Label
from serving.description import UNKNOWN

_SECTIONS: Final = ("", "input", "output")
_LINE: Final = 120
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def draft_text(findings: Sequence[Finding], labels: Finding | tuple[Label, ...], head: Iterable[str] = ()) -> str:
    """Return a contract.toml of the keys, each with its reason. `labels` is UNKNOWN with its reason, or the labels.

    `head` are lines that stand as comments above all.
    """
    # A comment of TOML is one line without control characters; names in a model's file may have some.
    lines = [_CONTROL.sub("?", f"# {line}").rstrip() for line in head]
    if lines:
        lines.append("")
    for section in _SECTIONS:
        if section:
            lines += ["", f"[{section}]"]
        for each in findings:
            if each.section == section:
                lines += _line(each)
        if not section:
            lines += _labels(labels)
    return "\n".join(lines) + "\n"


def _line(finding: Finding) -> list[str]:
    text = f"{finding.key} = {_value(finding.value)}"
    why = _CONTROL.sub("?", " ".join(finding.why.split()))
    if finding.value == UNKNOWN:
        return [f"# NOT TOLD: {why}", text]
    if not why:
        return [text]
    if len(text) + 4 + len(why) <= _LINE:
        return [f"{text}  # {why}"]
    return [f"# {why}", text]


def _labels(labels: Finding | tuple[Label, ...]) -> list[str]:
    if isinstance(labels, Finding):
        return _line(labels)
    if [label.id for label in labels] == list(range(len(labels))) and not any(label.root for label in labels):
        return ["labels = [", *(f"    {_value(label.name)}," for label in labels), "]"]
    rows = []
    for label in labels:
        root = f", root = {_value(label.root)}" if label.root else ""
        rows.append(f"    {{ id = {label.id}, name = {_value(label.name)}{root} }},")
    return ["labels = [", *rows, "]"]


def _value(value: Any) -> str:  # noqa: ANN401 - a text, a number, a truth value, or a list of these
    # Of the values that occur here, JSON's form is TOML's too; only DEL must be escaped besides.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
