"""A SavedModel that keeps its weights as variables, which its signatures share: the form for a large model.

Freezing SSD300 with three signatures took 3.9 GB, and as it is bound by its convolutions it gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from exporter.graph.signatures import Signature


def write_archive(folder: Path, signatures: Sequence[Signature], *, resources: Sequence[Any] = ()) -> None:
    """Write a SavedModel with `signatures` into `folder`, which must not exist yet; the first dimension stays open.

    `resources` hold what the signatures use and Keras does not find by itself. Keras' ExportArchive writes it, as the
    TF1 session loader of TF Serving does not find the variables of a Keras 3 model that `tf.saved_model.save` wrote.
    """
    archive = keras.export.ExportArchive()
    for resource in resources:
        archive.track(resource)
    for signature in signatures:
        archive.add_endpoint(signature.name, signature.function, [signature.spec(signature.input_name)])
    archive.write_out(str(folder), verbose=False)
