"""Read the arrays of a Keras weight file, by layer name. No code and no pickle in the file is ever run.

Formats: the HDF5 of Keras 1 and Keras 2 (root attribute `layer_names`, one group per layer with the attribute
`weight_names`), the same in the group `model_weights` of a whole model's `.h5`, and the formats of Keras 3,
`.weights.h5` and `.keras`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.weights.keras3_names import numbered_names

_LARGEST = 8 << 30
_NOT_LAYERS = ("optimizer", "metrics", "_metrics")


@dataclass(frozen=True)
class StoredWeights:
    """The arrays of an open file by layer name, in the layer's order (kernel, bias).

    Layers without arrays are left out.
    """

    layers: dict[str, tuple[Any, ...]]

    def shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Return the shapes of the arrays by layer. The arrays themselves are not read."""
        return {name: tuple(tuple(array.shape) for array in arrays) for name, arrays in self.layers.items()}

    def read(self, layer: str) -> list[NDArray[np.float32]]:
        """Read the arrays of a layer as float32. Raises ExportError if an array is damaged or has non-finite values."""
        try:
            arrays = [np.asarray(array[()]) for array in self.layers[layer]]
        except OSError as error:
            raise ExportError(f"The weights of layer {layer} are damaged: save them again.") from error
        for array in arrays:
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ExportError(f"The weights of layer {layer} are not all finite numbers: train the model again.")
        return [array.astype(np.float32) for array in arrays]


@contextmanager
def open_weights(path: Path) -> Iterator[StoredWeights]:
    """Open a weight file of any known format. Raises ExportError if the file is damaged or of another format."""
    with ExitStack() as stack:
        try:
            source: IO[bytes] = stack.enter_context(path.open("rb"))
            names: dict[str, str] = {}
            if zipfile.is_zipfile(source):
                source, names = _unpack(path, stack)
            file = stack.enter_context(h5py.File(source, "r"))
            layers = _layers(file, names, path)
        except ExportError:
            raise
        except OSError as error:
            reason = error.strerror or "it is no whole HDF5 or .keras file, but cut short or of another format"
            raise ExportError(f"Cannot read weights from {path}: {reason}.") from error
        except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise ExportError(f"Cannot read weights from {path}: the file is damaged ({error}).") from error
        yield StoredWeights({name: arrays for name, arrays in layers.items() if arrays})


def digest(path: Path) -> str:
    """Return the sha256 of a file. Raises ExportError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ExportError(f"Cannot read {path}: {error.strerror}.") from error


def _unpack(path: Path, stack: ExitStack) -> tuple[IO[bytes], dict[str, str]]:
    """Unpack the HDF5 file of a `.keras` file. Return it and the layer names by group; see `numbered_names`."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    if "model.weights.h5" not in archive.namelist():
        raise ExportError(f"{path} is a zip file without model.weights.h5: it is no .keras file.")
    if archive.getinfo("model.weights.h5").file_size > _LARGEST:
        raise ExportError(f"The weights in {path} unpack to more than 8 GiB.")
    unpacked: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with archive.open("model.weights.h5") as packed:
        shutil.copyfileobj(packed, unpacked)
    config = json.loads(archive.read("config.json")) if "config.json" in archive.namelist() else {}
    return unpacked, numbered_names(config)


def _layers(file: Any, names: dict[str, str], path: Path) -> dict[str, tuple[Any, ...]]:  # noqa: ANN401 - h5py has no types
    root = _own(file, "model_weights") if "model_weights" in file else file
    if "layer_names" in root.attrs:
        return _legacy_layers(root)
    if "layers" in root or "_layer_checkpoint_dependencies" in root:
        return dict(_keras3_layers(root, names, path))
    raise ExportError(f"{path} holds no Keras weights: it has neither the attribute layer_names nor the group layers.")


def _legacy_layers(root: Any) -> dict[str, tuple[Any, ...]]:  # noqa: ANN401 - h5py has no types
    return {
        layer: tuple(
            _dataset(root, [layer, *name.split("/")]) for name in _texts(_own(root, layer).attrs, "weight_names")
        )
        for layer in _texts(root.attrs, "layer_names")
    }


def _keras3_layers(
    root: Any,  # noqa: ANN401 - h5py has no types
    names: dict[str, str],
    path: Path,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    groups: list[str] = []
    root.visit(lambda name: groups.append(name) if name.endswith("/vars") else None)
    for group in groups:
        numbers = sorted(root[group], key=int)
        if group.startswith(_NOT_LAYERS) or not numbers:
            continue
        name = root[group].attrs.get("name") or names.get(group.removesuffix("/vars").rpartition("/")[2])
        if name is None:
            raise ExportError(
                f"{path} does not name its layers, as files of some Keras versions: export from the .keras file."
            )
        yield str(name), tuple(_dataset(root, [*group.split("/"), number]) for number in numbers)


def _texts(attributes: Any, name: str) -> list[str]:  # noqa: ANN401 - h5py has no types
    """Read an attribute with a list of texts. Keras splits a list too large for a header into `name0`, `name1`, ..."""
    if name in attributes:
        texts = list(attributes[name])
    else:
        texts, number = [], 0
        while f"{name}{number}" in attributes:
            texts += list(attributes[f"{name}{number}"])
            number += 1
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]


def _dataset(root: Any, parts: list[str]) -> Any:  # noqa: ANN401 - h5py has no types
    """Return a dataset of this file. Raises ExportError for a link, which could point to any file of the machine."""
    node = root
    for part in parts:
        node = _own(node, part)
    if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual:
        raise ExportError(
            f"The weight file keeps {'/'.join(parts)} outside itself, which is not read: save all weights in one file."
        )
    return node


def _own(node: Any, name: str) -> Any:  # noqa: ANN401 - h5py has no types
    if not isinstance(node.get(name, getlink=True), h5py.HardLink):
        raise ExportError(f"The weight file has no {name} of its own: it is missing or a link, which is not followed.")
    return node[name]
