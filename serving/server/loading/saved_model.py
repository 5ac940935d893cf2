"""Load a SavedModel into a TensorFlow 1 session, as TF Serving's SessionBundle does.

Python's TF2 loader accepts models that TF Serving refuses. A call of its signature function costs 290 to 510 us; a call
of a session callable costs 26 to 57 us.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import LoadError, from_number
from serving.wire.protos import ProtoMessage, SignatureDef

_VARIABLE_OPS: Final = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_MAX_CALLABLES: Final = 64  # per version: each set of outputs needs one, and clients choose any set
_IMPORTING: Final = threading.Lock()  # models load in several threads, and TensorFlow has circular imports


def _import_tensorflow() -> Any:  # noqa: ANN401 - TensorFlow has no types
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A session needs no Keras. TensorFlow imports Keras 3 with itself, but the old Keras at its first use only.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with _IMPORTING:
        try:
            import tensorflow as tf  # noqa: PLC0415 - 3 s that a wrong flag need not wait for
        except (ImportError, MemoryError) as error:  # without enough memory a library cannot be mapped
            raise LoadError(f"TensorFlow cannot be imported: {error}") from error
    tf.get_logger().setLevel("ERROR")
    return tf


@dataclass(frozen=True)
class SessionSettings:
    """How a SavedModel is loaded: the tags of its graph, and numbers of threads, 0 being chosen by the processor.

    `intra_op_threads` compute within an operator, `inter_op_threads` run operators at the same time.
    """

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0


class LoadedModel:
    """A version in memory. Threads may call `run` at the same time, but not after `close`.

    `signatures` holds the SignatureDef messages by name. The constructor raises LoadError if the folder cannot be
    loaded.
    """

    def __init__(self, folder: Path, settings: SessionSettings = SessionSettings()) -> None:
        tf = _import_tensorflow()
        self._tf = tf
        self._lock = threading.Lock()
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
        cores = os.cpu_count() or 1
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=settings.intra_op_threads or cores,
            inter_op_parallelism_threads=settings.inter_op_threads or min(cores, 2),
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(settings.tags), str(folder))
            self._require_variables(folder)
        except tf.errors.OpError as error:
            self._session.close()
            raise LoadError(str(error.message), error.error_code) from error
        except LoadError:
            self._session.close()
            raise
        except Exception as error:  # a damaged file makes the loader raise errors of any type
            self._session.close()
            raise LoadError(f"{type(error).__name__}: {error}") from error
        self.signatures: dict[str, ProtoMessage] = {
            name: SignatureDef.FromString(signature.SerializeToString())
            for name, signature in meta_graph.signature_def.items()
        }

    def run(
        self,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        *,
        deadline: float | None = None,  # noqa: ARG002 - a session cannot be interrupted
    ) -> list[NDArray[Any]]:
        """See Servable."""
        names = tuple(sorted(feeds))
        wanted = tuple(sorted(set(fetches)))
        try:
            results = self._callable(names, wanted)(*(feeds[name] for name in names))
        except self._tf.errors.OpError as error:
            raise from_number(int(error.error_code), str(error.message)) from error
        by_name = dict(zip(wanted, results, strict=True))
        return [_array(by_name[name]) for name in fetches]

    def close(self) -> None:
        """Free the memory. All calls must have ended."""
        self._callables.clear()
        self._session.close()

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:  # noqa: ANN401 - TensorFlow's
        with self._lock:
            key = (feeds, fetches)
            if key not in self._callables:
                if len(self._callables) >= _MAX_CALLABLES:
                    self._callables.clear()
                from tensorflow.core.protobuf.config_pb2 import CallableOptions  # noqa: PLC0415 - TensorFlow is loaded by now

                options = CallableOptions(feed=feeds, fetch=fetches)
                self._callables[key] = self._session._make_callable_from_options(options)  # noqa: SLF001 - TF1's only such call
            return self._callables[key]

    def _require_variables(self, folder: Path) -> None:
        """Raise LoadError if the variables' files are missing.

        TensorFlow loads a folder whose variables are not copied yet, and then every call fails.
        """
        has_variables = any(operation.type in _VARIABLE_OPS for operation in self._session.graph.get_operations())
        if has_variables and not (folder / "variables" / "variables.index").is_file():
            raise LoadError(f"{folder}/variables is missing or not yet complete", 5)


def _array(value: Any) -> NDArray[Any]:  # noqa: ANN401 - what a session returns
    """Return an output as an array. NumPy's own dtype for bytes would drop the NULs at the end of a scalar string."""
    if not isinstance(value, bytes):
        return np.asarray(value)
    scalar = np.empty((), object)
    scalar[()] = value
    return scalar
