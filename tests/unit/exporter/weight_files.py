"""Writes weight files in the forms that Keras has had."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Layers = Mapping[str, list[NDArray[Any]]]

ROLES = {1: ["gamma"], 2: ["kernel", "bias"]}


def keras1(path: Path, layers: Layers) -> None:
    """Keras 1: datasets `conv1_1_W:0` in each layer's group, texts as bytes."""
    with h5py.File(path, "w") as file:
        _legacy(file, layers, lambda name, role: f"{name}_{ {'kernel': 'W', 'bias': 'b'}.get(role, role) }:0")


def keras2(path: Path, layers: Layers) -> None:
    """Keras 2, weights only: datasets nested in a group of the layer's name."""
    with h5py.File(path, "w") as file:
        _legacy(file, layers, lambda name, role: f"{name}/{role}:0")


def keras2_model(path: Path, layers: Layers) -> None:
    """Keras 2, a whole model: the weights in `model_weights`, and a config that must not be read."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": {"function": "boom"}})
        _legacy(file.create_group("model_weights"), layers, lambda name, role: f"{name}/{role}:0")
        file.create_group("optimizer_weights")


def keras3(path: Path, layers: Layers, *, named: bool = True) -> None:
    """Keras 3's `.weights.h5`: numbered groups, the name in an attribute; earlier ones had none."""
    with h5py.File(path, "w") as file:
        _numbered(file, layers, named=named)


def keras3_model(path: Path, layers: Layers, *, named: bool = True) -> None:
    """Keras 3's `.keras`: a zip of the same and of the config, which has the layers in the same order."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        _numbered(file, layers, named=named)
    config = {"config": {"layers": [{"class_name": "Conv2D", "config": {"name": name}} for name in layers]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())


FORMS: dict[str, Callable[[Path, Layers], None]] = {
    "keras1.hdf5": keras1,
    "keras2.h5": keras2,
    "keras2_model.h5": keras2_model,
    "keras3.weights.h5": keras3,
    "keras3.keras": keras3_model,
    "keras3_unnamed.keras": lambda path, layers: keras3_model(path, layers, named=False),
}


def _legacy(root: Any, layers: Layers, title: Any) -> None:
    root.attrs["layer_names"] = np.array([name.encode() for name in ("input_1", *layers)])
    root.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
    for name, arrays in layers.items():
        group = root.create_group(name)
        titles = [title(name, role) for role in ROLES[len(arrays)]]
        group.attrs["weight_names"] = np.array([weight_name.encode() for weight_name in titles])
        for weight_name, array in zip(titles, arrays, strict=True):
            group.create_dataset(weight_name, data=array)


def _numbered(file: Any, layers: Layers, *, named: bool) -> None:
    for number, (name, arrays) in enumerate(layers.items()):
        group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
        if named:
            group.attrs["name"] = name
        for place, array in enumerate(arrays):
            group.create_dataset(str(place), data=array)
    file.create_group("optimizer/vars").create_dataset("0", data=np.int64(7))
