"""Tensors as a message holds them."""

from __future__ import annotations

from serving.wire import tensors


def encode_tensor(array: tensors.Array, *, as_content: bool = False) -> bytes:
    """Encode an array as a TensorProto, with its values in a typed field or in `tensor_content`."""
    return b"".join(tensors._parts(array, as_content=as_content))
