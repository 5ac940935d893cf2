from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import TensorError
from serving.wire.protos import ModelSpec, PredictRequest, PredictResponse, ProtoMessage, TensorProto
from serving.wire.tensors import Array, as_bfloat16, decode, dtype_name, dtype_number, encode_request, encode_response
from tests.support.tensors import encode_tensor

DTYPES = ["<f4", "<f8", "<i4", "u1", "<i2", "i1", "<i8", "?", "<u2", "<f2", "<u4", "<u8"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def same(left: Array, right: Array) -> bool:
    """Equal in shape, dtype and every bit."""
    return left.shape == right.shape and left.dtype == right.dtype and left.tobytes() == right.tobytes()


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)), st.booleans())
def test_an_array_comes_back_as_it_was(array: Array, as_content: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Every dtype, scalars, empty ones and NaNs included, in both layouts."""
    tensor = TensorProto.FromString(encode_tensor(array, as_content=as_content))

    assert dtype_number(array) == tensor.dtype
    assert bool(tensor.tensor_content) == (as_content and array.size > 0)
    assert same(array, decode(tensor)) or np.array_equal(array, decode(tensor), equal_nan=True)


@given(st.lists(st.binary(max_size=200), max_size=6), st.booleans())
def test_strings_come_back_as_they_were(texts: list[bytes], as_content: bool) -> None:  # noqa: FBT001 - likewise
    """Bytes of any length, zero bytes included, in both layouts."""
    array = np.empty(len(texts), object)
    array[:] = texts

    back = decode(TensorProto.FromString(encode_tensor(array, as_content=as_content)))

    assert texts == back.tolist()


def test_a_layout_that_is_not_contiguous_is_sent_in_order() -> None:
    """A transposed or big-endian array means its elements, not its buffer."""
    array = np.arange(6, dtype=">f4").reshape(2, 3).T

    assert np.array_equal(array, decode(TensorProto.FromString(encode_tensor(array))))


def test_a_request_says_what_was_asked() -> None:
    """The hand-written bytes are a PredictRequest like any other."""
    images = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)

    content = encode_request("m", "detect", {"images": images, "second": images[:1]}, version=7, outputs=("a", "b"))
    request = PredictRequest.FromString(content)

    assert (request.model_spec.name, request.model_spec.version.value, _signature(request)) == ("m", 7, "detect")
    assert list(request.output_filter) == ["a", "b"]
    assert same(images, decode(request.inputs["images"]))
    assert same(images[:1], decode(request.inputs["second"]))


def _signature(request: ProtoMessage) -> str:
    return str(request.model_spec.signature_name)


def test_a_request_without_a_version_leaves_the_choice_to_the_server() -> None:
    """Version 0 and no version are different things."""
    assert not PredictRequest.FromString(encode_request("m", "s", {})).model_spec.HasField("version")
    assert PredictRequest.FromString(encode_request("m", "s", {}, version=0)).model_spec.HasField("version")


def test_a_response_is_as_protobuf_would_write_it() -> None:
    """Values lie in float_val and the like, unless content was asked for."""
    outputs = {"scores": np.array([[0.5, 0.25]], np.float32), "count": np.array([3], np.int32)}

    fields = PredictResponse.FromString(encode_response(ModelSpec(name="m"), outputs))
    content = PredictResponse.FromString(encode_response(ModelSpec(name="m"), outputs, as_content=True))

    assert list(fields.outputs["scores"].float_val) == [0.5, 0.25]
    assert list(fields.outputs["count"].int_val) == [3]
    assert np.array([0.5, 0.25], np.float32).tobytes() == content.outputs["scores"].tensor_content
    assert content.model_spec.name == "m"


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [([], [0, 0, 0]), ([5], [5, 5, 5]), ([5, 6], [5, 6, 6]), ([5, 6, 7], [5, 6, 7]), ([5, 6, 7, 8], [5, 6, 7])],
)
def test_fewer_values_than_elements_repeat_the_last(given_values: list[int], expected: list[int]) -> None:
    """As Tensor::FromProto does it."""
    assert expected == decode(_tensor(dtype=3, int_val=given_values, shape=[3])).tolist()
    assert expected == decode(_tensor(dtype=9, int64_val=given_values, shape=[3])).tolist()


def test_repeated_strings() -> None:
    """Strings repeat as numbers do."""
    assert decode(_tensor(dtype=7, string_val=[b"a"], shape=[2])).tolist() == [b"a", b"a"]
    assert decode(_tensor(dtype=7, shape=[2])).tolist() == [b"", b""]


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param({"dtype": 0, "shape": [1]}, id="no dtype"),
        pytest.param({"dtype": 8, "shape": [1]}, id="a dtype nobody uses here"),
        pytest.param({"dtype": 1, "shape": [-1]}, id="a negative size"),
        pytest.param({"dtype": 1, "shape": [1] * 255}, id="too many dimensions"),
        pytest.param({"dtype": 1, "shape": [2**40, 2**40]}, id="larger than the world"),
        pytest.param({"dtype": 7, "shape": [2**30]}, id="more strings than a message holds"),
        pytest.param({"dtype": 1, "shape": [2], "tensor_content": b"1234567"}, id="too few bytes"),
        pytest.param({"dtype": 1, "shape": [1], "tensor_content": b"12345678"}, id="too many bytes"),
        pytest.param({"dtype": 7, "shape": [2], "tensor_content": b"\x05\x05ab"}, id="strings cut off"),
        pytest.param({"dtype": 7, "shape": [1], "tensor_content": b"\xff"}, id="a length cut off"),
        pytest.param({"dtype": 7, "shape": [1], "tensor_content": b"\xff" * 9}, id="a length without an end"),
    ],
)
def test_a_malformed_tensor_is_an_error_of_its_own(tensor: dict[str, Any]) -> None:
    """Never a crash, and never an allocation that the message's own size does not justify."""
    with pytest.raises(TensorError):
        decode(_tensor(**tensor))


@given(
    st.integers(-1, 30),
    st.lists(st.integers(-3, 2**62), max_size=4),
    st.binary(max_size=40),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
)
def test_any_tensor_is_an_array_or_an_error(dtype: int, shape: list[int], content: bytes, values: list[int]) -> None:
    """Whatever a client sends, the server answers."""
    small = [size % 7 if size >= 0 else size for size in shape[:2]]
    for sizes in (shape[:1] if shape and shape[0] > 2**32 else small, small):
        tensor = _tensor(dtype=dtype, shape=sizes, tensor_content=content, int_val=values)
        try:
            array = decode(tensor)
        except TensorError:
            continue
        assert tuple(sizes) == array.shape


@pytest.mark.parametrize("dtype", ["complex64", "M8[s]", "V3"])
def test_an_array_of_a_foreign_dtype_is_refused(dtype: str) -> None:
    """The error names the dtype."""
    with pytest.raises(TensorError, match="cannot be sent"):
        encode_tensor(np.zeros(1, dtype))


def test_dtype_names_are_tensorflows() -> None:
    """Clients read them in error messages."""
    assert [dtype_name(number) for number in (1, 10, 4, 99)] == ["float", "bool", "uint8", "type 99"]


def _tensor(*, shape: list[int], **fields: object) -> ProtoMessage:
    tensor = TensorProto(**fields)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize("as_content", [False, True])
def test_bfloat16_is_read_as_float32(as_content: bool) -> None:  # noqa: FBT001 - a table
    """NumPy has no such dtype without TensorFlow's; every value of it is a float32."""
    values = np.array([[1.5, -2.0, np.inf], [1e38, 0.0078125, np.nan]], np.float32)
    half = as_bfloat16(values)
    tensor = TensorProto.FromString(encode_tensor(half, as_content=as_content))

    assert tensor.dtype == dtype_number(half) == 14
    assert dtype_name(14) == "bfloat16"
    assert decode(tensor).dtype == np.float32
    assert np.array_equal(decode(tensor), half.astype(np.float32), equal_nan=True)
    assert np.array_equal(as_bfloat16(decode(tensor)).view("<u2"), half.view("<u2"))


def test_bfloat16_of_too_few_bytes_is_refused() -> None:
    """Two bytes each."""
    tensor = TensorProto(dtype=14, tensor_content=b"123")
    tensor.tensor_shape.dim.add(size=2)
    with pytest.raises(TensorError, match="needs 4 bytes and has 3"):
        decode(tensor)
