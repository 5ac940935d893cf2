"""Export a detector whose inputs and outputs a TOML file describes: a whole Keras model or a SavedModel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.versions.contracts import read_contract
from exporter.versions.folders import require_free
from exporter.versions.origin import Origin
from exporter.weights.model_code import refuse_config_code, refuse_graph_code
from exporter.weights.stored_weights import digest
from serving.description import Description

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel


def export_described(
    kind: Literal["keras", "savedmodel"],
    source: Path,
    contract_file: Path,
    models: Path,
    *,
    name: str | None = None,
    version: int | None = None,
    dry_run: bool = False,
    trust_model_code: bool = False,
) -> Path:
    """Export a whole Keras model (`.keras` or `.h5`), or the folder of a SavedModel, as a version below `models`.

    `contract_file` is the TOML file of `serving.description.read_description`; `name` replaces the name in it. A source
    that contains code, or a graph that accesses files, is refused unless `trust_model_code` is True. Without `version`,
    the version gets the next free number. Returns the folder of the version. Raises ContractError if the TOML file is
    invalid, ExportError for any other failure; no files are left then.
    """
    source_digest = digest(source) if kind == "keras" else savedmodel_digest(source)
    description, model = read_contract(contract_file, models, name=name, weights_sha256=source_digest)
    require_free(model, version)
    if kind == "keras":
        raw_model = load_keras(source, description, trust_model_code=trust_model_code)
    else:
        raw_model = load_savedmodel(source, description, trust_model_code=trust_model_code)
    from exporter.graph.wrapping import export_wrapped  # noqa: PLC0415 - TensorFlow takes seconds, a wrong contract should not

    origin = Origin(kind=kind, description=description)
    return export_wrapped(raw_model, origin, model, version=version, dry_run=dry_run)


def load_keras(source: Path, description: Description, *, trust_model_code: bool = False) -> RawModel:
    """Load a whole Keras model.

    Raises ExportError if the file contains untrusted code, does not load, or if the model does not have one input
    besides the constants of `description`.
    """
    if not trust_model_code:
        refuse_config_code(source)
    tensorflow.prepare()
    import keras  # noqa: PLC0415 - TensorFlow takes seconds to import
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import

    from exporter.graph.inputs import model_inputs  # noqa: PLC0415 - it imports TensorFlow
    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow

    try:
        network = keras.saving.load_model(str(source), compile=False, safe_mode=not trust_model_code)
    except Exception as error:  # Keras raises errors of any type
        raise _load_error(source, error) from error
    constants = {constant.tensor for constant in description.input.constants}
    others = [entry for entry in network.inputs if entry.name not in constants]
    if len(others) != 1 or len(network.inputs) != 1 + len(constants):
        raise ExportError(
            f"{source} takes {', '.join(entry.name for entry in network.inputs)}: it must take one input, the images, "
            "besides the constants that the contract gives it (`constants` in [input])."
        )

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        values = model_inputs(description.input, images)
        arguments = [values.get(entry.name, images) for entry in network.inputs]
        outputs = network(arguments if constants else images, training=False)
        if isinstance(outputs, dict):
            return outputs
        listed = outputs if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(network.output_names, listed, strict=True))

    return RawModel(
        call=call,
        shape=tuple(others[0].shape),
        dtype=tf.as_dtype(others[0].dtype),
        weight_bytes=sum(4 * weight.value.shape.num_elements() for weight in network.weights),
    )


def load_savedmodel(source: Path, description: Description, *, trust_model_code: bool = False) -> RawModel:
    """Load the signature of a SavedModel that `description` names.

    Raises ExportError if the graph contains untrusted code, does not load or does not fit the description.
    """
    tensorflow.prepare()
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import

    from exporter.graph.inputs import model_inputs  # noqa: PLC0415 - it imports TensorFlow
    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow

    if not trust_model_code:
        refuse_graph_code(source)
    try:
        loaded = tf.saved_model.load(str(source))
    except Exception as error:  # TensorFlow raises errors of any type
        raise _load_error(source, error) from error
    if description.signature not in loaded.signatures:
        raise ExportError(f"{source} has no signature {description.signature}, only {', '.join(loaded.signatures)}.")
    function = loaded.signatures[description.signature]
    entries = function.structured_input_signature[1]
    described = [description.input.tensor, *(constant.tensor for constant in description.input.constants)]
    if set(entries) != set(described):
        raise ExportError(f"{source} takes {', '.join(sorted(entries))}, its description says {', '.join(described)}.")
    entry = entries[description.input.tensor]
    return RawModel(
        call=lambda images: function(**model_inputs(description.input, images)),
        shape=tuple(entry.shape),
        dtype=entry.dtype,
        weight_bytes=sum(v.shape.num_elements() * v.dtype.size for v in function.graph.variables),
        resources=[loaded],
    )


def savedmodel_digest(source: Path) -> str:
    """Return the sha256 of saved_model.pb and the files of the variables, in the order of their names.

    Raises ExportError if a file is missing or cannot be read.
    """
    if not (source / "saved_model.pb").is_file():
        raise ExportError(f"{source} is no SavedModel: it has no saved_model.pb.")
    content = hashlib.sha256()
    try:
        for path in [source / "saved_model.pb", *sorted((source / "variables").glob("variables.*"))]:
            content.update(path.read_bytes())
    except OSError as error:
        raise ExportError(f"Cannot read {error.filename}: {error.strerror}.") from error
    return content.hexdigest()


def _load_error(source: Path, error: Exception) -> ExportError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ExportError(f"{source} does not load: {reason[:300]}")
