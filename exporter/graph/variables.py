"""Write a SavedModel that keeps its weights as variables, shared by all its signatures: the form for a large model.

Freezing SSD300 with three signatures took 3.9 GB of memory. It would not be faster, because convolutions take most of
its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from exporter.graph.signatures import Signature


def write_archive(folder: Path, signatures: Sequence[Signature], *, resources: Sequence[Any] = ()) -> None:
    """Write a SavedModel with `signatures` into `folder`, which must not exist yet.

    Sizes that a signature leaves open stay open. `resources` are objects that the signatures use and Keras does not
    track by itself. Keras' ExportArchive writes the folder: TF Serving's TF1 session loader does not find the variables
    of a Keras 3 model that `tf.saved_model.save` has written.
    """
    archive = keras.export.ExportArchive()
    for resource in resources:
        archive.track(resource)
    for signature in signatures:
        archive.add_endpoint(signature.name, signature.function, [signature.spec(signature.input_name)])
    archive.write_out(str(folder), verbose=False)
