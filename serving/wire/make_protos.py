"""Write protos.binpb, the descriptor set of TensorFlow Serving's messages: `python -m serving.wire.make_protos`.

The descriptors are literals in the `*_pb2.py` files of the installed packages. They are read without an import, because
an import loads all of TensorFlow (3 s, 536 MB). No package contains the .proto files of tensorflow_model_server's
settings, so their messages are written out in `SPELLED_OUT`.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

DESCRIPTOR_SET = Path(__file__).with_name("protos.binpb")  # not imported from serving.wire.protos, which reads the file

ROOTS = (
    "tensorflow/core/example/example.proto",
    "tensorflow_serving/apis/prediction_service.proto",
    "tensorflow_serving/apis/model_service.proto",
)

SPELLED_OUT = {
    "tensorflow_serving/config/monitoring_config.proto": {
        "PrometheusConfig": "bool enable = 1; string path = 2",
        "MonitoringConfig": "tensorflow.serving.PrometheusConfig prometheus_config = 1",
    },
    "tensorflow_serving/config/ssl_config.proto": {
        "SSLConfig": "string server_key = 1; string server_cert = 2; string custom_ca = 3; bool client_verify = 4",
    },
    "tensorflow_serving/servables/tensorflow/session_bundle_config.proto": {
        "BatchingParameters": (
            "google.protobuf.Int64Value max_batch_size = 1; google.protobuf.Int64Value batch_timeout_micros = 2; "
            "google.protobuf.Int64Value max_enqueued_batches = 3; google.protobuf.Int64Value num_batch_threads = 4; "
            "google.protobuf.StringValue thread_pool_name = 5; repeated int64 allowed_batch_sizes = 6; "
            "bool pad_variable_length_inputs = 7; google.protobuf.BoolValue enable_large_batch_splitting = 8; "
            "google.protobuf.Int64Value max_execution_batch_size = 9"
        ),
    },
}
"""Messages by .proto file, with the names of tensorflow/serving's sources. Text files hold no field numbers."""


def descriptor_set() -> bytes:
    """Return the serialised FileDescriptorSet of ROOTS, their imports and SPELLED_OUT, each file after its imports.

    Raises LookupError if the package of a file is not installed.
    """
    files: dict[str, FileDescriptorProto] = {}
    for root in ROOTS:
        _collect(root, files)
    for name, messages in SPELLED_OUT.items():
        files[name] = _spelled_out(name, messages)
    return FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)


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


def _collect(name: str, files: dict[str, FileDescriptorProto]) -> None:
    if name in files:
        return
    file = FileDescriptorProto.FromString(_literal(_generated_file(name)))
    for dependency in file.dependency:
        _collect(dependency, files)
    files[name] = file


def _generated_file(name: str) -> Path:
    """Return the path of a .proto file's `_pb2.py`. TensorFlow keeps XLA's files below tensorflow/compiler."""
    relative = name.removesuffix(".proto") + "_pb2.py"
    for place in (relative, f"tensorflow/compiler/{relative}"):
        top, _, rest = place.partition("/")
        spec = find_spec(top)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            candidate = Path(folder) / rest
            if candidate.is_file():
                return candidate
    raise LookupError(f"{name} is in no installed package: install tensorflow-serving-api (see requirements-full.txt)")


def _literal(generated: Path) -> bytes:
    for node in ast.walk(ast.parse(generated.read_bytes())):
        match node:
            case ast.Call(func=ast.Attribute(attr="AddSerializedFile"), args=[ast.Constant(value=bytes() as content)]):
                return content
    raise LookupError(f"{generated.name} holds no serialised descriptor: was it made by another protoc?")


def main() -> None:
    """Write protos.binpb and print its size in bytes."""
    content = descriptor_set()
    DESCRIPTOR_SET.write_bytes(content)
    sys.stdout.write(f"{DESCRIPTOR_SET.name}: {len(content)} bytes\n")


if __name__ == "__main__":
    main()
