"""Describes and wraps an existing SavedModel."""

from __future__ import annotations

import hashlib
from pathlib import Path

from exporter import runtime
from exporter.contracts import read_contract
from exporter.errors import ExportError
from exporter.model_code import refuse_graph_code


def export_savedmodel(
    source: Path,
    contract_file: Path,
    models: Path,
    *,
    name: str | None = None,
    version: int | None = None,
    dry_run: bool = False,
    trust_model_code: bool = False,
) -> Path:
    """Write the SavedModel in the folder `source` as a version below `models`, with the signatures of the design.

    `contract_file` is a TOML file, see `serving.description.read_description`; `name` replaces its name. Raises
    ExportError; then nothing is left behind.
    """
    if not (source / "saved_model.pb").is_file():
        raise ExportError(f"{source} is no SavedModel: it has no saved_model.pb.")
    description, model = read_contract(contract_file, models, name=name, weights_sha256=_digest(source))
    runtime.prepare()
    import tensorflow as tf  # noqa: PLC0415 - it takes seconds, a wrong contract should not

    from exporter.wrapping import RawModel, export_wrapped  # noqa: PLC0415

    if not trust_model_code:
        refuse_graph_code(source)
    try:
        loaded = tf.saved_model.load(str(source))
    except Exception as error:  # TensorFlow raises what it likes
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportError(f"{source} does not load: {reason[:300]}") from error
    if description.signature not in loaded.signatures:
        raise ExportError(f"{source} has no signature {description.signature}, only {', '.join(loaded.signatures)}.")
    function = loaded.signatures[description.signature]
    entries = function.structured_input_signature[1]
    if list(entries) != [description.input.tensor]:
        raise ExportError(f"{source} takes {', '.join(entries)}, its description says {description.input.tensor}.")
    entry = entries[description.input.tensor]
    raw_model = RawModel(
        call=lambda images: function(**{description.input.tensor: images}),
        shape=tuple(entry.shape),
        dtype=entry.dtype,
        weight_bytes=sum(v.shape.num_elements() * v.dtype.size for v in function.graph.variables),
        resources=[loaded],
    )
    return export_wrapped(raw_model, description, model, version=version, dry_run=dry_run)


def _digest(source: Path) -> str:
    """The sha256 over the graph and the variables, in the order of their names."""
    digest = hashlib.sha256()
    for path in [source / "saved_model.pb", *sorted((source / "variables").glob("variables.*"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
