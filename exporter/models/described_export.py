"""Export a detector whose inputs and outputs a TOML file describes: a whole Keras model or a SavedModel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.versions.contracts import read_contract
from exporter.versions.folders import require_free
from exporter.versions.origin import Origin
from exporter.weights.custom_code import explain, import_modules
from exporter.weights.keras2 import keras_2_layers
from exporter.weights.model_code import keras_version, refuse_config_code, refuse_graph_code
from exporter.weights.other_formats import refuse_other_formats
from exporter.weights.stored_weights import digest
from serving.description import Description, RawInput

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel
    from exporter.models.savedmodels import LoadedSignature


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
    modules: Sequence[str] = (),
    images: Path | None = None,
) -> Path:
    """Export a whole Keras model (`.keras` or `.h5`), or the folder of a SavedModel, as a version below `models`.

    `contract_file` is the TOML file of `serving.description.read_description`; `name` replaces the name in it. A source
    that contains code, or a graph that accesses files, is refused unless `trust_model_code` is True; `modules` are then
    imported before a Keras model is loaded. The boxes are checked on the photos in the folder `images`, or on made-up
    images. Without `version`, the version gets the next free number. Returns the folder of the version. Raises
    ContractError if the TOML file is invalid, ExportError for any other failure; no files are left then.
    """
    if modules and kind != "keras":
        raise ExportError("--import is for the code of Keras models: leave it out.")
    refuse_other_formats(source, kind)
    source_digest = digest(source) if kind == "keras" else savedmodel_digest(source)
    description, model = read_contract(contract_file, models, name=name, weights_sha256=source_digest)
    require_free(model, version)
    if kind == "keras":
        raw_model = load_keras(source, description, trust_model_code=trust_model_code, modules=modules)
    else:
        raw_model = load_savedmodel(source, description, trust_model_code=trust_model_code)
    from exporter.graph.wrapping import export_wrapped  # noqa: PLC0415 - TensorFlow takes seconds, a wrong contract should not

    origin = Origin(kind=kind, description=description)
    return export_wrapped(raw_model, origin, model, version=version, dry_run=dry_run, images=images)


def load_keras(
    source: Path, description: Description, *, trust_model_code: bool = False, modules: Sequence[str] = ()
) -> RawModel:
    """Load a whole Keras model. Its trusted code may need `modules` to be imported; see `import_modules`.

    Raises ExportError if the file contains untrusted code, does not load, or if the model does not have one input
    besides the constants of `description`.
    """
    network = load_network(source, trust_model_code=trust_model_code, modules=modules)
    from exporter.models.keras_models import raw_model  # noqa: PLC0415 - it imports TensorFlow

    return raw_model(network, description, source)


def load_network(source: Path, *, trust_model_code: bool = False, modules: Sequence[str] = ()) -> Any:  # noqa: ANN401 - Keras has no types
    """Load a whole Keras model, as `load_keras` does, and return Keras' object.

    Raises ExportError if the file contains untrusted code or does not load.
    """
    if not trust_model_code:
        refuse_config_code(source)
        if modules:
            raise ExportError("--import runs code: if you trust whoever made the model, add --trust-model-code.")
    tensorflow.prepare()
    import keras  # noqa: PLC0415 - TensorFlow takes seconds to import

    objects = import_modules(modules)
    if keras_version(source).startswith("2."):
        objects = keras_2_layers() | objects
    try:
        return keras.saving.load_model(
            str(source), custom_objects=objects, compile=False, safe_mode=not trust_model_code
        )
    except Exception as error:  # Keras raises errors of any type
        raise explain(source, error) from error


def load_savedmodel(source: Path, description: Description, *, trust_model_code: bool = False) -> RawModel:
    """Load the signature of a SavedModel that `description` names.

    Raises ExportError if the graph contains untrusted code, does not load or does not fit the description.
    """
    loaded = open_savedmodel(source, description.signature, trust_model_code=trust_model_code)
    return signature_model(loaded, description.input, source)


def open_savedmodel(source: Path, signature: str, *, trust_model_code: bool = False) -> LoadedSignature:
    """Load a signature of a SavedModel.

    Raises ExportError if the graph contains untrusted code, does not load or has no such signature.
    """
    tensorflow.prepare()
    from exporter.models.savedmodels import load_signature  # noqa: PLC0415 - it imports TensorFlow

    if not trust_model_code:
        refuse_graph_code(source)
    try:
        return load_signature(source, signature)
    except ExportError:
        raise
    except Exception as error:  # TensorFlow raises errors of any type
        raise _load_error(source, error) from error


def signature_model(loaded: LoadedSignature, raw_input: RawInput, source: Path) -> RawModel:
    """Return a loaded signature as a model. Raises ExportError if its inputs are not those of `raw_input`."""
    from exporter.graph.inputs import model_inputs  # noqa: PLC0415 - it imports TensorFlow
    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow

    described = [raw_input.tensor, *(constant.tensor for constant in raw_input.constants)]
    if set(loaded.inputs) != set(described):
        inputs = ", ".join(sorted(loaded.inputs))
        raise ExportError(f"{source} takes {inputs}, its description says {', '.join(described)}.")
    entry = loaded.inputs[raw_input.tensor]
    return RawModel(
        call=lambda images: loaded.call(**model_inputs(raw_input, images)),
        shape=tuple(entry.shape),
        dtype=entry.dtype,
        # Constants count as weights: a file of several hundred MB must not be copied from graph to graph.
        weight_bytes=loaded.variable_bytes + (source / "saved_model.pb").stat().st_size,
        resources=loaded.resources,
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
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    content.update(part)
    except OSError as error:
        raise ExportError(f"Cannot read {error.filename}: {error.strerror}.") from error
    return content.hexdigest()


def _load_error(source: Path, error: Exception) -> ExportError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ExportError(f"{source} does not load: {reason[:300]}")
