from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.server.errors import StatusError
from serving.server.rest.json_answer import write_answer
from serving.server.rest.json_request import read_request
from serving.server.rest.json_values import to_array
from serving.wire.protos import ProtoMessage, SignatureDef

FLOAT, INT32, UINT8, STRING, INT64, BOOL, HALF = 1, 3, 4, 7, 9, 10, 19


def refusal(value: Any, dtype: int) -> str:
    """The message that a value is refused with."""
    with pytest.raises(StatusError) as error:
        to_array(value, dtype)
    return error.value.message


@pytest.mark.parametrize(
    ("value", "dtype", "array"),
    [
        (1, FLOAT, np.float32(1)),
        ([[1, 2.5], [3, 4]], FLOAT, np.array([[1, 2.5], [3, 4]], np.float32)),
        ([0, 255], UINT8, np.array([0, 255], np.uint8)),
        ([-(2**63), 2**63 - 1], INT64, np.array([-(2**63), 2**63 - 1])),
        ([True, False], BOOL, np.array([True, False])),
        (["é", {"b64": "/w=="}, {"b64": "AAE"}], STRING, np.array(["é".encode(), b"\xff", b"\x00\x01"], object)),
        ([2**24 + 1, -(2**53) - 1], FLOAT, np.array([2**24, -(2**53)], np.float32)),
        ([2**53 + 1], 2, np.array([2**53], np.float64)),
        ([], FLOAT, np.zeros(0, np.float32)),
        ([[], []], INT32, np.zeros((2, 0), np.int32)),
    ],
)
def test_lists_are_arrays(value: Any, dtype: int, array: np.ndarray) -> None:
    """Of the dtype that the signature has."""
    parsed = to_array(value, dtype)

    assert (parsed.shape, parsed.dtype) == (array.shape, array.dtype)
    assert np.array_equal(parsed, array)


def test_not_a_number_and_infinities_are_numbers() -> None:
    """As rapidjson reads them where it is told to."""
    parsed = to_array(json.loads("[NaN, Infinity, -Infinity]"), FLOAT)

    assert np.array_equal(parsed, np.array([np.nan, np.inf, -np.inf], np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ("a", FLOAT, 'JSON Value: "a" Type: String is not of expected type: float'),
        (None, FLOAT, "JSON Value: null Type: Null is not of expected type: float"),
        (True, FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        (1.5, INT32, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        (2**31, INT32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([1, 256], UINT8, "JSON Value: 256 Type: Number is not of expected type: uint8"),
        (False, INT32, "JSON Value: false Type: False is not of expected type: int32"),
        (1, BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (1, STRING, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"b64": "*"}, STRING, "Unable to base64 decode"),
        (10**400, FLOAT, f"Cannot convert JSON value: 1{'0' * 400} to float without loss of precision."),
        (1e39, FLOAT, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (1, HALF, "Conversion of JSON Value: 1 to type: half"),
        ([[1], 2], FLOAT, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([[1], [2, 3]], FLOAT, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([1, [2]], FLOAT, "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_what_is_not_of_the_dtype_is_refused(value: Any, dtype: int, message: str) -> None:
    """In TF Serving's words."""
    assert message == refusal(value, dtype)


def signature(**inputs: int) -> ProtoMessage:
    """A signature with inputs of these dtypes."""
    return SignatureDef(inputs={name: {"name": f"{name}:0", "dtype": dtype} for name, dtype in inputs.items()})


ONE, TWO = signature(x=FLOAT), signature(a=INT32, b=STRING)


def read(document: Any, of: ProtoMessage = ONE) -> dict[str, Any]:
    """The arrays of a request, as lists."""
    request = read_request(json.dumps(document).encode(), lambda _: of)
    return {name: array.tolist() for name, array in request.inputs.items()}


def test_rows_and_columns() -> None:
    """With names and without; a base64 object is a value."""
    assert read({"instances": [[1, 2], [3, 4]]}) == {"x": [[1, 2], [3, 4]]}
    assert read({"instances": [{"x": 1}, {"x": 2}]}) == {"x": [1, 2]}
    assert read({"inputs": [[1, 2]]}) == {"x": [[1, 2]]}
    assert read({"inputs": {"x": [1]}}) == {"x": [1]}
    rows = [{"a": 1, "b": {"b64": "YQ=="}}, {"a": 2, "b": "c"}]
    assert read({"instances": rows}, TWO) == {"a": [1, 2], "b": [b"a", b"c"]}
    assert read({"inputs": {"a": [1], "b": ["c"]}}, TWO) == {"a": [1], "b": [b"c"]}
    assert read({"instances": [{"b64": "YQ=="}]}, signature(b=STRING)) == {"b": [b"a"]}
    assert read({"inputs": {"b64": "YQ=="}}, signature(b=STRING)) == {"b": b"a"}


@pytest.mark.parametrize(
    ("document", "of", "message"),
    [
        ([1], ONE, "Is not object"),
        ({}, ONE, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, ONE, "expecting only one of 'inputs' or 'instances' keys to exist "),
        ({"instances": 1}, ONE, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, ONE, "No values in 'instances' array"),
        ({"signature_name": 1, "instances": [1]}, ONE, "'signature_name' key must be a string value."),
        ({"instances": [1]}, signature(), "Failed to get input map for signature: DEFAULT"),
        ({"instances": [1]}, TWO, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [1]}, TWO, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": [1]}}, TWO, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"x": 1}, 1]}, ONE, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1, {"x": 1}]}, ONE, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"a": 1}]}, TWO, "Failed to process element: 0 of 'instances' list. JSON object: "),
        (
            {"instances": [{"y": 1}]},
            ONE,
            (
                "Failed to process element: 0 key: y of 'instances' list. "
                "Error: INVALID_ARGUMENT: JSON object: does not have named input: y"
            ),
        ),
        (
            {"instances": [[1], [1, 2]]},
            ONE,
            (
                "Failed to process element: 1 of 'instances' list. "
                "Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2"
            ),
        ),
        ({"instances": [[[1, 2]], [[1], [2]]]}, ONE, "Expecting shape [1,2] but got: [2,1]"),
    ],
)
def test_a_request_of_another_form_is_refused(document: Any, of: ProtoMessage, message: str) -> None:
    """In TF Serving's words."""
    with pytest.raises(StatusError) as error:
        read(document, of)

    assert message in error.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"nil", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b" \n", "JSON Parse error: The document is empty. at offset: 2"),
        (b'{"a": 1 2}', "JSON Parse error: Missing a comma or } after an object member. at offset: 8"),
        (b'{"a": [1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 9"),
        (b'{"a": [{"[": 1} 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 16"),
        (b'[{"a\\"]": [] 2}]', "JSON Parse error: Missing a comma or } after an object member. at offset: 13"),
        (b'"a\nb"', "JSON Parse error: Invalid encoding in string. at offset: 2"),
        (b'"a\\x"', "JSON Parse error: Invalid escape character in string. at offset: 2"),
        (b'"\\u00g0"', "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'{"x": 1' + b"0" * 250 + b"e99}", "JSON Parse error: Number too big to be stored in double. at offset: 0"),
        (b'{"x": 1e400}', "JSON Parse error: Number too big to be stored in double. at offset: 0"),
        (b'{"x": -1' + b"0" * 309 + b"}", "JSON Parse error: Number too big to be stored in double. at offset: 0"),
        (b'"\\ud800"', "JSON Parse error: The surrogate pair in string is invalid. at offset: 1"),
        (b'"a\\udc00b"', "JSON Parse error: The surrogate pair in string is invalid. at offset: 2"),
        (b'"\\ud800\\n\\udc00"', "JSON Parse error: The surrogate pair in string is invalid. at offset: 7"),
        (b'{"instances": Infi}', "JSON Parse error: Invalid value. at offset: 14"),
        (b"\xff\xff", "JSON Parse error: Invalid value. at offset: 0"),
        (b"[" * 200_000, "JSON Parse error: Invalid value. at offset: 0"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes, message: str) -> None:
    """Whatever makes the parser stumble."""
    with pytest.raises(StatusError) as error:
        read_request(body, lambda _: ONE)

    assert message == error.value.message


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"instances": [1]} and more', [1.0]),
        (b'\xef\xbb\xbf{"instances": [1]}', [1.0]),
        (b' \n{"instances": [Inf, -Inf, Infinity, NaN]}', [np.inf, -np.inf, np.inf, np.nan]),
        (b'{"instances": [1], "instances": [2], "x": "Inf \\" Inf"}', [1.0]),
        (b'{"x": "Inf, \\ud83d\\ude00 \\\\ud800", "instances": [Inf, 1e300, 1.5e-400]}', [np.inf, 1e300, 0.0]),
        (b'{"instances": [1' + b"0" * 20 + b"]}", [1e20]),
    ],
)
def test_what_rapidjson_takes(body: bytes, values: list[float]) -> None:
    """A byte order mark, bytes behind the document, infinities in both spellings.

    Of a name that comes twice the first value counts.
    """
    request = read_request(body, lambda _: signature(x=2))

    assert np.array_equal(request.inputs["x"], np.array(values), equal_nan=True)


def written(outputs: dict[str, Any], *, in_rows: bool = False) -> Any:
    """An answer, read again."""
    return json.loads(write_answer({name: np.asarray(value) for name, value in outputs.items()}, in_rows=in_rows))


def test_answers_in_rows_and_in_columns() -> None:
    """One output has no name."""
    outputs = {"a": np.array([[1, 2], [3, 4]]), "b": np.array([True, False])}

    assert written(outputs) == {"outputs": {"a": [[1, 2], [3, 4]], "b": [True, False]}}
    assert written(outputs, in_rows=True) == {"predictions": [{"a": [1, 2], "b": True}, {"a": [3, 4], "b": False}]}
    assert written({"a": outputs["a"]}, in_rows=True) == {"predictions": [[1, 2], [3, 4]]}
    assert written({"a": np.float32(0.5)}) == {"outputs": 0.5}


def test_strings_are_text_or_base64() -> None:
    """By the name of the output; bytes that are no UTF-8 pass through as they are."""
    values = np.array([b'"\n', "é".encode()], object)

    assert written({"x": values}) == {"outputs": ['"\n', "é"]}
    assert written({"x_bytes": values}) == {"outputs": [{"b64": "Igo="}, {"b64": "w6k="}]}
    assert b"\xff" in write_answer({"x": np.array([b"\xff"], object)}, in_rows=False)


def test_numbers_are_as_short_as_they_can_be() -> None:
    """Six digits where they say it all; always a decimal number, in TF Serving's words where it is none."""
    values = np.array([0.2, 1 / 3, 3, 1e6, -np.inf, np.inf, np.nan, 0.851562500], np.float32)

    assert b"[0.2, 0.333333343, 3.0, 1e+06, -Infinity, Infinity, NaN, 0.8515625]" in write_answer(
        {"x": values}, in_rows=False
    )


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 3)), elements=st.floats(width=32)))
def test_floats_come_back_as_they_were(values: np.ndarray) -> None:
    """Bit for bit, but for the kind of NaN."""
    returned = np.array(written({"x": values}, in_rows=True)["predictions"], np.float64).astype(np.float32)

    assert np.array_equal(returned, values, equal_nan=True)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"x": np.float32(1)}, "Tensor name: x has no shape information "),
        ({"x": np.zeros((0, 2))}, "Tensor name: x has invalid batch size: 0"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "Tensor name: y has inconsistent batch size: 3 expecting: 2"),
        ({"x": np.zeros(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_outputs_without_a_form_in_json_are_refused(outputs: dict[str, Any], message: str) -> None:
    """In TF Serving's words."""
    with pytest.raises(StatusError) as error:
        written(outputs, in_rows=True)

    assert message == error.value.message
