"""Convert a JSON value to an array: the shape of its nested lists and the checks of its dtype (json_tensor.cc)."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import invalid_argument, unimplemented
from serving.wire.tensors import dtype_name, numpy_dtype

Array = NDArray[Any]

_LARGEST: Final = {1: float(np.finfo(np.float32).max), 2: float(np.finfo(np.float64).max)}
_INTEGERS: Final = {3, 4, 5, 6, 9, 22, 23}  # int32, uint8, int16, int8, int64, uint32, uint64
_STRING: Final = 7
_BOOL: Final = 10
_MOST_DIMENSIONS: Final = 64  # NumPy's limit


def to_array(value: Any, dtype: int) -> Array:  # noqa: ANN401 - any JSON
    """Convert a value or nested lists to an array; `dtype` is TensorFlow's number of a dtype.

    Raises INVALID_ARGUMENT if lists differ in length or a value does not fit the dtype, UNIMPLEMENTED if the dtype has
    no form in JSON.
    """
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _MOST_DIMENSIONS:
        raise invalid_argument(f"JSON Value has {len(shape)} dimensions, the most are {_MOST_DIMENSIONS}")
    leaves = _flattened(value, shape)
    return _converted(leaves, dtype).reshape(shape)


def is_base64(value: Any) -> bool:  # noqa: ANN401 - any JSON
    """Return True for `{"b64": "..."}`, the form of bytes in JSON."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def decoded_base64(value: dict[str, str]) -> bytes:
    """Return the bytes of `{"b64": "..."}`. Raises INVALID_ARGUMENT if the text is not base64."""
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def shown(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return the JSON of a value as error messages quote it."""
    return json.dumps(value, indent=4, ensure_ascii=False)


def complain(value: Any, what: str) -> NoReturn:  # noqa: ANN401 - any JSON
    """Raise INVALID_ARGUMENT with a message that quotes the value."""
    raise invalid_argument(f"JSON Value: {shown(value)} {what}")


def _flattened(value: Any, shape: list[int]) -> list[Any]:  # noqa: ANN401 - any JSON
    level_values = [value]
    for level, size in enumerate(shape):
        below: list[Any] = []
        for item in level_values:
            if not isinstance(item, list):
                complain(
                    item, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
                )
            if len(item) != size:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {size}"
                )
            below += item
        level_values = below
    if list in set(map(type, level_values)):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return level_values


def _converted(leaves: list[Any], dtype: int) -> Array:
    kinds = set(map(type, leaves))
    if dtype in _LARGEST:
        return _decimals(leaves, kinds, dtype)
    if dtype == _STRING:
        flat = np.empty(len(leaves), object)
        flat[:] = [_bytes(leaf) for leaf in leaves]
        return flat
    if dtype == _BOOL:
        if kinds - {bool}:
            _wrong_type(leaves, {bool}, dtype)
        return np.array(leaves, np.bool_)
    if dtype in _INTEGERS:
        if kinds - {int}:
            _wrong_type(leaves, {int}, dtype)
        limits = np.iinfo(numpy_dtype(dtype))
        for extreme in (min(leaves, default=0), max(leaves, default=0)):
            if not limits.min <= extreme <= limits.max:
                _type_error(extreme, dtype)
        return np.array(leaves, numpy_dtype(dtype))
    example = shown(leaves[0]) if leaves else "[]"
    raise unimplemented(f"Conversion of JSON Value: {example} to type: {dtype_name(dtype)}")


def _decimals(leaves: list[Any], kinds: set[type], dtype: int) -> Array:
    if kinds - {int, float}:
        _wrong_type(leaves, {int, float}, dtype)
    try:
        flat = np.array(leaves, np.float64)
    except OverflowError:
        flat = np.full(len(leaves), np.inf)
    for index in np.flatnonzero(np.abs(flat) > _LARGEST[dtype]).tolist():
        leaf = leaves[index]
        if _LARGEST[dtype] < abs(leaf) < math.inf:
            name = dtype_name(dtype)
            raise invalid_argument(f"Cannot convert JSON value: {shown(leaf)} to {name} without loss of precision.")
    return flat.astype(numpy_dtype(dtype))


def _bytes(leaf: Any) -> bytes:  # noqa: ANN401 - any JSON
    if isinstance(leaf, str):
        return leaf.encode("utf-8", "surrogatepass")
    if not isinstance(leaf, dict):
        _type_error(leaf, _STRING)
    if not is_base64(leaf):
        complain(leaf, "not formatted correctly for base64 data")
    return decoded_base64(leaf)


def _wrong_type(leaves: list[Any], right: set[type], dtype: int) -> NoReturn:
    _type_error(next(leaf for leaf in leaves if type(leaf) not in right), dtype)


def _type_error(value: Any, dtype: int) -> NoReturn:  # noqa: ANN401 - any JSON
    complain(value, f"Type: {kind_of(value)} is not of expected type: {dtype_name(dtype)}")


def kind_of(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return rapidjson's name for the type of a value."""
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value)) or str(value)
