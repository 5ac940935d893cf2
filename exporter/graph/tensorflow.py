"""TensorFlow and Keras need their environment set before they are imported; this is the one place that sets it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def prepare() -> None:
    """Import TensorFlow quietly, with Keras' backend chosen. Call it before anything that imports either.

    Raises ImportError, after what TensorFlow had to say about it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" not in sys.modules:
        _import_in_silence("tensorflow")
    sys.modules["tensorflow"].get_logger().setLevel("ERROR")


def _import_in_silence(name: str) -> None:
    """Import a module while standard error is held back; it is shown where the import fails.

    TensorFlow writes some lines before its logging is set up, where no log level reaches them.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    try:
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                importlib.import_module(name)
            except BaseException:
                held.seek(0)
                os.write(shown, held.read())
                raise
    finally:
        os.dup2(shown, 2)
        os.close(shown)
