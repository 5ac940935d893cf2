"""Writes protos.binpb, the descriptor set of the messages that serving speaks: `python -m serving.wire.make_protos`.

The descriptors are read out of the installed packages' generated `*_pb2.py` files as literals, without running them:
running them would import all of TensorFlow (3 s, 536 MB). The files of tensorflow_model_server's own settings are in no
package: their two messages are spelled out here.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

DESCRIPTOR_SET = Path(__file__).with_name("protos.binpb")  # serving.wire.protos cannot be asked: it reads the file

ROOTS = (
    "tensorflow_serving/apis/predict.proto",
    "tensorflow_serving/apis/get_model_metadata.proto",
    "tensorflow_serving/apis/get_model_status.proto",
    "tensorflow_serving/apis/model_management.proto",
)

SPELLED_OUT = {
    "tensorflow_serving/config/monitoring_config.proto": {
        "PrometheusConfig": "bool enable = 1; string path = 2",
        "MonitoringConfig": "tensorflow.serving.PrometheusConfig prometheus_config = 1",
    },
    "tensorflow_serving/servables/tensorflow/session_bundle_config.proto": {
        "BatchingParameters": (
            "google.protobuf.Int64Value max_batch_size = 1; google.protobuf.Int64Value batch_timeout_micros = 2; "
            "google.protobuf.Int64Value max_enqueued_batches = 3; google.protobuf.Int64Value num_batch_threads = 4; "
            "google.protobuf.StringValue thread_pool_name = 5; repeated int64 allowed_batch_sizes = 6; "
            "bool pad_variable_length_inputs = 7"
        ),
    },
}
"""Messages by file, as tensorflow/serving's sources have them."""


def descriptor_set() -> bytes:
    """The serialised FileDescriptorSet of ROOTS and all they import, each file after its imports.

    Raises LookupError where a package that holds one of the files is not installed.
    """
    found: dict[str, FileDescriptorProto] = {}
    for root in ROOTS:
        _collect(root, found)
    for name, messages in SPELLED_OUT.items():
        found[name] = _spelled_out(name, messages)
    return FileDescriptorSet(file=found.values()).SerializeToString(deterministic=True)


def _spelled_out(name: str, messages: dict[str, str]) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package="tensorflow.serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for text in fields.split("; "):
            *repeated, kind, field_name, _, number = text.split(" ")
            field = message.field.add(name=field_name, number=int(number))
            field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            if "." in kind:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{kind}"
            else:
                field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    return file


def _collect(name: str, found: dict[str, FileDescriptorProto]) -> None:
    if name in found:
        return
    file = FileDescriptorProto.FromString(_literal(_generated_file(name)))
    for dependency in file.dependency:
        _collect(dependency, found)
    found[name] = file


def _generated_file(name: str) -> Path:
    """The `_pb2.py` of a .proto file; TensorFlow keeps XLA's in a folder of its own."""
    relative = name.removesuffix(".proto") + "_pb2.py"
    for place in (relative, f"tensorflow/compiler/{relative}"):
        top, _, rest = place.partition("/")
        spec = find_spec(top)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            candidate = Path(folder) / rest
            if candidate.is_file():
                return candidate
    raise LookupError(f"{name} is in no installed package: install tensorflow-serving-api (requirements-full.txt)")


def _literal(generated: Path) -> bytes:
    for node in ast.walk(ast.parse(generated.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
            argument = node.args[0]
            is_descriptor = node.func.attr == "AddSerializedFile" and isinstance(argument, ast.Constant)
            if is_descriptor and isinstance(argument, ast.Constant) and isinstance(argument.value, bytes):
                return argument.value
    raise LookupError(f"{generated.name} holds no serialised descriptor: was it made by another protoc?")


def main() -> None:
    """Write the file and say how large it is."""
    content = descriptor_set()
    DESCRIPTOR_SET.write_bytes(content)
    sys.stdout.write(f"{DESCRIPTOR_SET.name}: {len(content)} bytes\n")


if __name__ == "__main__":
    main()
