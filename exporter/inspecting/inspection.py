"""Inspect a model: what it is, what its outputs look like, and a draft of its contract."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.errors import ExportError, ModelNotRunError
from exporter.graph import tensorflow
from exporter.inspecting.draft import draft_text
from exporter.inspecting.facts import Finding, Hints, ModelFacts, SignatureFacts, TensorFacts
from exporter.inspecting.hints import read_hints
from exporter.models.yolo.metadata import METADATA_FILE
from exporter.versions.folders import name_of_file
from exporter.weights.other_formats import refuse_other_formats
from exporter.weights.stored_weights import open_weights
from serving.contract import Label
from serving.description import UNKNOWN

if TYPE_CHECKING:
    from exporter.inspecting.layouts import Layout
    from exporter.inspecting.opening import Run
    from exporter.inspecting.trial import Trial

_ANY_SIZE: Final = (640, 640)
_OWN_SIGNATURES: Final = {"detect", "describe"}


@dataclass(frozen=True)
class Inspection:
    """What is known of a model. `not_run` is why it was not run, '' if it was; `draft` is a contract.toml."""

    facts: ModelFacts
    trial: Trial | None
    not_run: str
    findings: tuple[Finding, ...]
    labels: Finding | tuple[Label, ...]

    @property
    def unknown(self) -> list[str]:
        """Return the keys that could not be told."""
        findings = [*self.findings, *([self.labels] if isinstance(self.labels, Finding) else [])]
        return [f"{each.section}.{each.key}".strip(".") for each in findings if each.value == UNKNOWN]

    @property
    def draft(self) -> str:
        """Return the draft of the contract, with what was found as comments above it."""
        return draft_text(self.findings, self.labels, self.report())

    def report(self) -> list[str]:
        """Return what was found, in lines of text."""
        return list(_report(self))

    def document(self) -> dict[str, Any]:
        """Return what was found as JSON's types."""
        facts = self.facts
        return {
            "path": str(facts.path),
            "kind": facts.kind,
            "command": f"shelfline export {facts.command}",
            "signatures": [asdict(signature) for signature in facts.signatures],
            "labels": None if isinstance(self.labels, Finding) else [label.model_dump() for label in self.labels],
            "labels_file": str(facts.hints.labels_file) if facts.hints.labels_file else None,
            "run": None
            if self.trial is None
            else {
                "photos": self.trial.photos,
                "height": self.trial.size[0],
                "width": self.trial.size[1],
                "outputs": [asdict(each) for each in self.trial.statistics],
                "scores": dict(self.trial.scores),
            },
            "not_run": self.not_run or None,
            "convention": next((finding.value for finding in self.findings if finding.key == "convention"), UNKNOWN),
            "findings": [asdict(each) for each in self.findings],
            "unknown": self.unknown,
            "contract": self.draft,
        }


def inspect_model(
    path: Path,
    *,
    labels: Path | None = None,
    images: Path | None = None,
    trust_model_code: bool = False,
    modules: Sequence[str] = (),
) -> Inspection:
    """Inspect a SavedModel, or a whole Keras model (`.keras`, `.h5`), and run it on sample photos if that is possible.

    `images` is a folder of photos, `labels` a file of the names of its classes. Raises ExportError if there is no such
    model or photo, or if a Keras model does not load, and ContractError for a file of labels that cannot be read.
    """
    refuse_other_formats(path, "inspect")
    hints = read_hints(path, labels)
    if path.is_dir():
        facts, run, not_run = _savedmodel(path, hints, trust_model_code=trust_model_code)
    else:
        _refuse_weights(path)
        tensorflow.prepare()
        from exporter.inspecting.opening import open_keras  # noqa: PLC0415 - it imports TensorFlow

        facts, run = open_keras(path, hints, trust_model_code=trust_model_code, modules=modules)
        not_run = "" if run else f"it takes {len(facts.signature.inputs)} inputs"
    trial, size = None, _size(facts)
    entry = _entry(facts)
    if run and entry:
        from exporter.inspecting.trial import try_model  # noqa: PLC0415 - it imports TensorFlow

        count = len(hints.labels) or None
        try:
            trial = try_model(run, entry, size or _ANY_SIZE, facts.hints.findings, labels=count, images=images)
        except ModelNotRunError as error:
            not_run = str(error)
    findings, named = _keys(facts, entry, size, trial)
    return Inspection(facts, trial, not_run, tuple(findings), named)


def _savedmodel(path: Path, hints: Hints, *, trust_model_code: bool) -> tuple[ModelFacts, Run | None, str]:
    if not (path / "saved_model.pb").is_file():
        raise ExportError(f"{path} is no SavedModel: it has no saved_model.pb.")
    tensorflow.prepare()
    from exporter.inspecting.opening import open_savedmodel_facts, savedmodel_run  # noqa: PLC0415 - it imports TensorFlow

    facts = open_savedmodel_facts(path, hints)
    if {signature.name for signature in facts.signatures} >= _OWN_SIGNATURES:
        raise ExportError(f"{path} was exported by Shelfline and describes itself: see `shelfline models`.")
    try:
        return facts, savedmodel_run(facts, trust_model_code=trust_model_code), ""
    except ExportError as error:
        return facts, None, str(error).rstrip(".")


def _refuse_weights(path: Path) -> None:
    """Raise ExportError if a file holds weights alone."""
    from exporter.weights.model_code import keras_config  # noqa: PLC0415

    try:
        keras_config(path)
    except ExportError as no_model:
        try:
            with open_weights(path) as weights:
                names = list(weights.shapes())
        except ExportError:
            raise no_model from None
        raise ExportError(
            f"{path} holds the weights of {len(names)} layers ({', '.join(names[:3])}, ...) and no model: for SSD300 "
            "use `shelfline export ssd300`; of another model save all of it, with `model.save`."
        ) from no_model


def _entry(facts: ModelFacts) -> TensorFacts | None:
    """Return the input that takes the photos, None if it cannot be told."""
    inputs = facts.signature.inputs
    images = [each for each in inputs if each.shape is not None and len(each.shape) == 4 and 3 in each.shape[1:]]
    return images[0] if len(images) == 1 else None


def _size(facts: ModelFacts) -> tuple[int, int] | None:
    """Return (height, width) of the input in pixels, None if it is open and no file says it."""
    entry, findings = _entry(facts), facts.hints.findings
    shape = (entry.shape if entry else None) or (None, None, None, None)
    height, width = shape[2:] if shape[3] != 3 and shape[1] == 3 else shape[1:3]
    height = height or (findings["input_height"].value if "input_height" in findings else None)
    width = width or (findings["input_width"].value if "input_width" in findings else None)
    return (height, width) if height and width else None


def _keys(
    facts: ModelFacts, entry: TensorFacts | None, size: tuple[int, int] | None, trial: Trial | None
) -> tuple[list[Finding], Finding | tuple[Label, ...]]:
    """Return all keys of the draft in their order, and the labels."""
    layout = trial.layout if trial else None
    known = dict(facts.hints.findings) | ({each.key: each for each in trial.findings} if trial else {})
    top = {each.key: each for each in layout.top} if layout else {}
    keys: list[Finding] = [Finding("", "name", name_of_file(facts.path) or "model", "--name takes its place")]
    any_size = "the model takes any size: give that of its training"
    for place, key in enumerate(("input_height", "input_width")):
        keys.append(Finding("", key, size[place], "pixels") if size else Finding("", key, UNKNOWN, any_size))
    if facts.signature.name not in {"", "serving_default"}:
        keys.append(Finding("", "signature", facts.signature.name, "the signature to wrap"))
    keys.append(
        known.get("resize_mode")
        or Finding("", "resize_mode", UNKNOWN, '"stretch" or "letterbox" (padded), as photos were in its training')
    )
    keys += [known[key] for key in ("align", "pad_colour", "antialias", "clip") if key in known]
    if "antialias" not in known:
        keys.append(Finding("", "antialias", True, "Pillow's filters; false for OpenCV's and tf.image.resize"))
    keys += [
        Finding("", "score_threshold", 0.25, "your choice: what is reported"),
        top.get("nms") or Finding("", "nms", "per_class", 'your choice; "none" if the model suppresses itself'),
        Finding("", "nms_iou", 0.5, "your choice: of two boxes that overlap more, the better stays"),
        Finding("", "max_detections", 300, "your choice"),
    ]
    if entry is None:
        keys.append(Finding("input", "tensor", UNKNOWN, "which input takes the photos, (N, H, W, 3) or (N, 3, H, W)"))
    else:
        keys += _input_keys(facts, entry, known)
    if layout and layout.keys:
        keys += layout.keys
    else:
        why = layout.why if layout else "the model was not run"
        keys.append(Finding("output", "convention", UNKNOWN, f"{why}. See docs/export.md for those that there are"))
    return keys, _labels(facts, layout)


def _input_keys(facts: ModelFacts, entry: TensorFacts, known: dict[str, Finding]) -> Iterator[Finding]:
    yield Finding("input", "tensor", entry.name)
    yield Finding("input", "dtype", entry.dtype)
    shape = entry.shape or ()
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        yield Finding("input", "layout", "nchw", "channels first")
    if entry.dtype != "uint8":
        why = "pixels are divided by it: 1 for 0 to 255, 255 for 0 to 1"
        yield from (known[key] for key in ("channels", "mean") if key in known)
        yield known.get("scale") or Finding("input", "scale", UNKNOWN, why)
    if len(facts.signature.inputs) > 1:
        others = ", ".join(str(each) for each in facts.signature.inputs if each != entry)
        yield Finding("input", "constants", UNKNOWN, f"the model's other inputs: {others}")


def _labels(facts: ModelFacts, layout: Layout | None) -> Finding | tuple[Label, ...]:
    labels, file = facts.hints.labels, facts.hints.labels_file
    classes = layout.classes if layout else None
    many = f"the model has {classes} classes" if classes else "the outputs do not tell how many classes there are"
    example = '["tea", "rice"]'
    if layout and layout.convention == "ssd_raw":
        many += " beside the background, which is the first of the names"
        example = '["background", "tea", "rice"]'
        labels = tuple(label for label in labels if label.id)
    if not labels:
        return Finding("", "labels", UNKNOWN, f"{many}: {example} or a file of a name per line; or use --labels")
    if classes and classes != len(labels):
        return Finding("", "labels", UNKNOWN, f"{many}, but {file} names {len(labels)}")
    return labels


def _distinct(facts: ModelFacts) -> Iterator[tuple[str, SignatureFacts]]:
    """Yield the signatures that differ, with the names of those that are the same. The one to wrap comes first."""
    by_tensors: dict[Any, list[SignatureFacts]] = {}
    for signature in (facts.signature, *facts.signatures):
        same = by_tensors.setdefault((signature.inputs, signature.outputs), [])
        if signature not in same:
            same.append(signature)
    for same in by_tensors.values():
        yield ", ".join(each.name for each in same), same[0]


def _report(inspection: Inspection) -> Iterator[str]:
    facts, trial = inspection.facts, inspection.trial
    yield f"{facts.path}: {facts.kind}."
    for names, signature in _distinct(facts):
        yield f"{f'Signature {names}' if names else 'The model'} takes"
        yield from (f"    {each}" for each in signature.inputs)
        yield "and answers"
        yield from (f"    {each}" for each in signature.outputs)
    if trial is None:
        yield f"It was not run: {inspection.not_run or 'no input has the shape of photos'}."
    else:
        yield from _of_trial(trial)
    if facts.hints.labels_file:
        yield f"Labels: {len(facts.hints.labels)} of {facts.hints.labels_file}."
    source = shlex.quote(str(facts.path))
    if inspection.unknown:
        yield f'Not told, and "{UNKNOWN}" below: {", ".join(inspection.unknown)}.'
    else:
        yield f"All was told: shelfline export {facts.command} {source} --contract contract.toml"
    if (facts.path / METADATA_FILE).is_file():
        yield f"Ultralytics wrote it, so it needs no contract: shelfline export yolo {source}"


def _of_trial(trial: Trial) -> Iterator[str]:
    yield f"It was run on {trial.photos}, as {trial.size[1]} x {trial.size[0]} pixels, and answered"
    for each in trial.statistics:
        parts = [f"{each.least:.4g} to {each.most:.4g}", f"{each.over_a_quarter} over 0.25"]
        if each.sum_of_last_axis is not None:
            parts.append(f"the last axis adds up to {each.sum_of_last_axis:.4g} on average")
        if each.whole_numbers:
            parts.append("whole numbers")
        if each.finite < 1:
            parts.append(f"{1 - each.finite:.1%} are no numbers")
        yield f"    {each.name} ({', '.join(['N', *map(str, each.shape)])}): {', '.join(parts)}"
    if len(trial.scores) > 1:
        yield "By how photos were prepared:"
        yield from (f"    {name}: {text}" for name, text in trial.scores.items())
