"""Export a Keras detector whose inputs and outputs a TOML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.versions.contracts import read_contract
from exporter.versions.folders import require_free
from exporter.versions.origin import Origin
from exporter.weights.model_code import refuse_config_code
from exporter.weights.stored_weights import digest

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel


def export_keras(
    source: Path,
    contract_file: Path,
    models: Path,
    *,
    name: str | None = None,
    version: int | None = None,
    dry_run: bool = False,
    trust_model_code: bool = False,
) -> Path:
    """Export a whole Keras model (`.keras` or `.h5`) as a version below the folder `models`.

    `contract_file` is the TOML file of `serving.description.read_description`; `name` replaces the name in it. A model
    file that contains code is refused unless `trust_model_code` is True. Without `version`, the version gets the next
    free number. Returns the folder of the version. Raises ContractError if the TOML file is invalid, ExportError for
    any other failure; no files are left then.
    """
    description, model = read_contract(contract_file, models, name=name, weights_sha256=digest(source))
    require_free(model, version)
    raw_model = load_keras(source, trust_model_code=trust_model_code)
    from exporter.graph.wrapping import export_wrapped  # noqa: PLC0415 - TensorFlow takes seconds, a wrong contract should not

    origin = Origin(kind="keras", description=description)
    return export_wrapped(raw_model, origin, model, version=version, dry_run=dry_run)


def load_keras(source: Path, *, trust_model_code: bool = False) -> RawModel:
    """Load a whole Keras model.

    Raises ExportError if the file contains untrusted code, does not load, or if the model does not have one input.
    """
    if not trust_model_code:
        refuse_config_code(source)
    tensorflow.prepare()
    import keras  # noqa: PLC0415 - see export_keras
    import tensorflow as tf  # noqa: PLC0415

    from exporter.graph.wrapping import RawModel  # noqa: PLC0415

    try:
        network = keras.saving.load_model(str(source), compile=False, safe_mode=not trust_model_code)
    except Exception as error:  # Keras raises errors of any type
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportError(f"{source} does not load: {reason[:300]}") from error
    if len(network.inputs) != 1:
        raise ExportError(f"{source} takes {len(network.inputs)} inputs: a detector takes one, the images.")

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(images, training=False)
        if isinstance(outputs, dict):
            return outputs
        listed = outputs if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(network.output_names, listed, strict=True))

    return RawModel(
        call=call,
        shape=tuple(network.inputs[0].shape),
        dtype=tf.as_dtype(network.inputs[0].dtype),
        weight_bytes=sum(4 * weight.value.shape.num_elements() for weight in network.weights),
    )
