"""Write arrays as the JSON of a predict response, in rows or columns, with the number format of json_tensor.cc."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import invalid_argument
from serving.wire.protos import ProtoMessage
from serving.wire.tensors import dtype_name, dtype_number

Array = NDArray[Any]


def write_answer(outputs: Mapping[str, Array], *, in_rows: bool) -> bytes:
    """Write outputs by name as `{"predictions": [...]}`, one element per row, or as `{"outputs": ...}`.

    Raises INVALID_ARGUMENT if the outputs cannot be written that way.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    text = _rows(outputs) if in_rows else _columns(outputs)
    return text.encode("utf-8", "surrogateescape")


def write_classifications(result: ProtoMessage) -> bytes:
    """Write a ClassificationResult as `{"results": [[[label, score], ...], ...]}`."""
    rows = []
    for item in result.classifications:
        scores = _decimals(np.array([added.score for added in item.classes], np.float32))
        labels = [json.dumps(added.label, ensure_ascii=False) for added in item.classes]
        rows.append(f"[{', '.join(f'[{label}, {score}]' for label, score in zip(labels, scores, strict=True))}]")
    return _results(rows)


def write_regressions(result: ProtoMessage) -> bytes:
    """Write a RegressionResult as `{"results": [value, ...]}`."""
    return _results(_decimals(np.array([item.value for item in result.regressions], np.float32)))


def _results(values: list[str]) -> bytes:
    return f'{{\n    "results": [{", ".join(values)}]\n}}'.encode()


def _columns(outputs: Mapping[str, Array]) -> str:
    texts = {name: _nested(iter(_tokens(name, array)), array.shape) for name, array in outputs.items()}
    whole = _object(texts) if len(texts) > 1 else next(iter(texts.values()))
    return f'{{\n    "outputs": {whole}\n}}'


def _rows(outputs: Mapping[str, Array]) -> str:
    size = 0
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if len(array) < 1:
            raise invalid_argument(f"Tensor name: {name} has invalid batch size: {len(array)}")
        if size and len(array) != size:
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)
    tokens = {name: iter(_tokens(name, array)) for name, array in outputs.items()}
    rows = []
    for _ in range(size):
        texts = {name: _nested(tokens[name], array.shape[1:]) for name, array in outputs.items()}
        rows.append(_object(texts) if len(texts) > 1 else next(iter(texts.values())))
    return f'{{\n    "predictions": [{", ".join(rows)}\n    ]\n}}'


def _object(texts: Mapping[str, str]) -> str:
    members = ",\n".join(f"            {json.dumps(name)}: {text}" for name, text in texts.items())
    return f"\n        {{\n{members}\n        }}"


def _nested(tokens: Iterator[str], shape: tuple[int, ...]) -> str:
    """Write the next values as nested lists of the given shape."""
    if not shape:
        return next(tokens)
    if len(shape) == 1:
        return f"[{', '.join(islice(tokens, shape[0]))}]"
    return f"[{', '.join(_nested(tokens, shape[1:]) for _ in range(shape[0]))}]"


def _tokens(name: str, array: Array) -> list[str]:
    """Return the JSON of each value, in row-major order."""
    kind = array.dtype
    if kind in {np.dtype(np.float32), np.dtype(np.float64)}:
        return _decimals(array)
    if kind == np.bool_:
        return ["true" if value else "false" for value in array.ravel().tolist()]
    if kind.hasobject:
        as_bytes = name.endswith("_bytes")
        return [_string(value, as_bytes=as_bytes) for value in array.ravel().tolist()]
    if kind.kind not in "iu" or kind == np.uint16:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(dtype_number(array))}")
    return list(map(str, array.ravel().tolist()))


def _decimals(array: Array) -> list[str]:
    """Write floats with 6 digits if those are exact, otherwise with 9 for float32 and 17 for float64."""
    flat = array.ravel()
    values = flat.tolist()
    texts = [f"{value:g}" for value in values]
    digits = 9 if flat.dtype == np.float32 else 17
    is_exact = np.array(texts, np.float64).astype(flat.dtype) == flat
    for index in np.flatnonzero(~is_exact | ~np.isfinite(flat)).tolist():
        texts[index] = f"{values[index]:.{digits}g}" if math.isfinite(values[index]) else _not_finite(values[index])
    return [text if "." in text or "e" in text or text[-1] in "yN" else f"{text}.0" for text in texts]


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _string(value: Any, *, as_bytes: bool) -> str:  # noqa: ANN401 - bytes or str
    raw = value.encode() if isinstance(value, str) else bytes(value)
    if as_bytes:
        return f'{{"b64": "{base64.b64encode(raw).decode()}"}}'
    return json.dumps(raw.decode("utf-8", "surrogateescape"), ensure_ascii=False)
