import subprocess
import sys

import pytest

from serving.wire.make_protos import descriptor_set
from serving.wire.protos import DESCRIPTOR_SET, GetModelMetadataResponse, SignatureDefMap


def test_the_descriptor_set_is_current() -> None:
    """protos.binpb is what `python -m serving.wire.make_protos` writes from the packages that are installed."""
    assert descriptor_set() == DESCRIPTOR_SET.read_bytes(), "run: make protos"


def test_well_known_types_work_in_the_private_pool() -> None:
    """Any packs and unpacks, wrappers tell unset from zero."""
    signatures = SignatureDefMap()
    signatures.signature_def["detect"].method_name = "tensorflow/serving/predict"
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    unpacked = SignatureDefMap()

    assert response.metadata["signature_def"].Unpack(unpacked)
    assert signatures == unpacked
    assert not response.model_spec.HasField("version")


@pytest.mark.parametrize("module", ["client", "wire.responses", "boxes.preprocess", "wire.make_protos", "__init__"])
def test_no_client_module_imports_tensorflow(module: str) -> None:
    """A worker needs 44 MB because of it."""
    code = f"import sys, serving.{module}; sys.exit('tensorflow' in sys.modules or 'tensorflow_serving' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
