"""Read a predict request in JSON, in rows (`instances`) or columns (`inputs`), with json_tensor.cc's error messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import StatusError, invalid_argument
from serving.server.rest.json_text import parse_json
from serving.server.rest.json_values import complain, is_base64, shown, to_array
from serving.wire.protos import ProtoMessage

Array = NDArray[Any]


@dataclass(frozen=True)
class JsonRequest:
    """A parsed predict request: the signature and the arrays by its aliases.

    `in_rows` says whether the request was in rows; the response has the same form.
    """

    signature: ProtoMessage
    inputs: Mapping[str, Array]
    in_rows: bool


def read_request(body: bytes, find: Callable[[str], ProtoMessage]) -> JsonRequest:
    """Parse the body of a predict request. Raises INVALID_ARGUMENT.

    `find` returns the SignatureDef of a name; '' stands for the default signature.
    """
    document = _parsed(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        complain(document, "not formatted correctly. 'signature_name' key must be a string value.")
    signature = find(name)
    if not signature.inputs:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        complain(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            complain(document, "Excepting 'instances' to be an list/array")
        if not rows:
            complain(document, "No values in 'instances' array")
        return JsonRequest(signature, _from_rows(rows, signature.inputs), in_rows=True)
    if "inputs" in document:
        return JsonRequest(signature, _from_columns(document["inputs"], signature.inputs), in_rows=False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _parsed(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        complain(document, "Is not object")
    return dict(document)


def _from_rows(rows: list[Any], infos: Mapping[str, ProtoMessage]) -> dict[str, Array]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = _is_named(rows[0])
    columns: dict[str, list[Array]] = {name: [] for name in infos}
    for position, row in enumerate(rows):
        if _is_named(row) is not named:
            expected = "object but got list" if named else "value/list but got object"
            raise invalid_argument(f"Expecting {expected} at item {position} of input list")
        values = row if named else {min(infos): row}
        for name, value in values.items():
            try:
                columns_of = columns.get(name)
                if columns_of is None:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                columns_of.append(_alike(to_array(value, infos[name].dtype), columns_of))
            except StatusError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {position}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from error
        if set(values) != set(infos):
            raise invalid_argument(
                f"Failed to process element: {position} of 'instances' list. JSON object: {shown(row)} "
                f"must only have keys: {','.join(sorted(infos))}"
            )
    return {name: np.stack(arrays) for name, arrays in columns.items()}


def _alike(array: Array, before: list[Array]) -> Array:
    """Return the array. Raises INVALID_ARGUMENT if its shape differs from the arrays before it."""
    if before and array.size != before[0].size:
        raise invalid_argument(f"Expecting tensor size: {before[0].size} but got: {array.size}")
    if before and array.shape != before[0].shape:
        expected, got = (f"[{','.join(map(str, shape))}]" for shape in (before[0].shape, array.shape))
        raise invalid_argument(f"Expecting shape {expected} but got: {got}")
    return array


def _from_columns(value: Any, infos: Mapping[str, ProtoMessage]) -> dict[str, Array]:  # noqa: ANN401 - any JSON
    if not _is_named(value):
        if len(infos) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        (name,) = infos
        return {name: to_array(value, infos[name].dtype)}
    for name in sorted(infos):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(value[name], info.dtype) for name, info in infos.items()}


def _is_named(value: Any) -> bool:  # noqa: ANN401 - any JSON
    return isinstance(value, dict) and not is_base64(value)
