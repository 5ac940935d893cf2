"""Set the environment of TensorFlow and Keras before they are imported. No other module sets it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def prepare() -> None:
    """Import TensorFlow without its log lines, with TensorFlow as Keras' backend and without GPUs.

    Call it before any module that imports TensorFlow or Keras. If the import fails, TensorFlow's output is shown and
    ImportError is raised.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" not in sys.modules:
        _import_in_silence("tensorflow")
    sys.modules["tensorflow"].get_logger().setLevel("ERROR")


def _import_in_silence(name: str) -> None:
    """Import a module with standard error hidden. If the import fails, the hidden output is written.

    TensorFlow writes some lines before it sets up its logging, so a log level does not hide them.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as hidden:
            os.dup2(hidden.fileno(), 2)
            try:
                importlib.import_module(name)
            except BaseException:
                hidden.seek(0)
                os.write(stderr, hidden.read())
                raise
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
