"""A SavedModel in a TensorFlow 1 session, as TF Serving's SessionBundle loads it: the one file that knows TensorFlow.

Python's TF2 loader accepts models that TF Serving refuses, and a call of it costs 290 to 510 us; one of a session
callable 26 to 57 us.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import LoadError, StatusError, from_number
from serving.wire.protos import ProtoMessage, SignatureDef

_VARIABLE_OPS: Final = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_MOST_CALLABLES: Final = 64  # per version: each choice of outputs is one, and a client may filter as it likes


_importing: Final = threading.Lock()  # models load in threads of their own, and TensorFlow's imports go in circles


def _import_tensorflow() -> Any:  # noqa: ANN401 - TensorFlow carries no types
    with _importing:
        try:
            return _import()
        except (ImportError, MemoryError) as error:  # where there is little memory, a library cannot be mapped
            raise LoadError(f"TensorFlow cannot be imported: {error}") from error


def _import() -> Any:  # noqa: ANN401 - likewise
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf  # noqa: PLC0415 - 3 s that a wrong flag need not wait for

    tf.get_logger().setLevel("ERROR")
    return tf


class LoadedModel:
    """One version in memory. Threads may call `run` at the same time; nobody may after `close`.

    `signatures` are SignatureDef by name. Raises LoadError where the folder cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        tf = _import_tensorflow()
        self._tf = tf
        self._lock = threading.Lock()
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
        cores = os.cpu_count() or 1
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=cores, inter_op_parallelism_threads=min(cores, 2)
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
            self._require_variables(folder)
        except tf.errors.OpError as error:
            self._session.close()
            raise LoadError(str(error.message), error.error_code) from error
        except LoadError:
            self._session.close()
            raise
        except Exception as error:  # the loader raises whatever the file's bytes make it stumble over
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
            raise _status(error) from error
        by_name = dict(zip(wanted, results, strict=True))
        return [np.asarray(by_name[name]) for name in fetches]

    def close(self) -> None:
        """Free the memory; in-flight calls must have ended."""
        self._callables.clear()
        self._session.close()

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:  # noqa: ANN401 - TensorFlow's
        with self._lock:
            key = (feeds, fetches)
            if key not in self._callables:
                if len(self._callables) >= _MOST_CALLABLES:
                    self._callables.clear()
                from tensorflow.core.protobuf.config_pb2 import CallableOptions  # noqa: PLC0415

                made = CallableOptions(feed=feeds, fetch=fetches)
                self._callables[key] = self._session._make_callable_from_options(made)  # noqa: SLF001
            return self._callables[key]

    def _require_variables(self, folder: Path) -> None:
        """A half-copied folder loads, if its variables are still to come, and then fails every call."""
        has_variables = any(operation.type in _VARIABLE_OPS for operation in self._session.graph.get_operations())
        if has_variables and not (folder / "variables" / "variables.index").is_file():
            raise LoadError(f"{folder}/variables is missing or not yet complete", 5)


def _status(error: Any) -> StatusError:  # noqa: ANN401 - TensorFlow's
    return from_number(int(error.error_code), str(error.message))
