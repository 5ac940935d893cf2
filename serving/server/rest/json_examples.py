"""Read the tf.Examples of a classify or regress request in JSON, with json_tensor.cc's error messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.server.errors import invalid_argument
from serving.server.rest.json_text import parse_json
from serving.server.rest.json_values import complain, decoded_base64, is_base64, kind_of, shown
from serving.wire.protos import ProtoMessage

_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: bytes, request: ProtoMessage) -> None:
    """Fill a ClassificationRequest or RegressionRequest: its signature's name and its examples.

    Raises INVALID_ARGUMENT if the body has another form than `{"signature_name": ..., "context": {...}, "examples":
    [{...}, ...]}`, of which `examples` alone must be there.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        complain(document, "Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        complain(document, "not formatted correctly. 'signature_name' key must be a string value.")
    request.model_spec.signature_name = name
    examples = request.input.example_list
    if "context" in document:
        examples = request.input.example_list_with_context
        _fill_example(examples.context, document["context"])
    if "examples" not in document:
        complain(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(document["examples"], list):
        complain(document, "Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        complain(document, "'examples' value is an empty array")
    for features in document["examples"]:
        _fill_example(examples.examples.add(), features)


def _fill_example(example: ProtoMessage, features: Any) -> None:  # noqa: ANN401 - any JSON
    if not isinstance(features, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {kind_of(features)}")
    example.features.SetInParent()
    for name, content in features.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add(feature, name, value)


def _add(feature: ProtoMessage, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON
    field: str
    if isinstance(value, bool | int):
        field, value = "int64_list", int(value)
        if not -(2**63) <= value < 2**63:
            raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    elif isinstance(value, float):
        field = "float_list"
        if _LARGEST_FLOAT < abs(value) < float("inf"):
            raise invalid_argument(f"Cannot convert JSON value: {shown(value)} to float without loss of precision.")
    elif isinstance(value, str):
        field, value = "bytes_list", value.encode()
    elif is_base64(value):
        field, value = "bytes_list", decoded_base64(value)
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {kind_of(value)}")
    kind = feature.WhichOneof("kind")
    if kind not in {None, field}:
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KINDS[kind]}")
    getattr(feature, field).value.append(value)
